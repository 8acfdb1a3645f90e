"""Why a format is not shipped: an outcome with reasons and figures, not a crash."""

from __future__ import annotations


class Refused(Exception):
    """A graph, a threshold or a whole bundle is refused; the message says why and what to do instead."""
