"""When our certificates expire, read from their PEM files with the standard library alone.

A certificate is `SEQUENCE { SEQUENCE { [0] version, serial, algorithm, issuer, SEQUENCE { notBefore, notAfter }, … } }`
(RFC 5280, 4.1); the dates are the last items of the first SEQUENCE that begins with a time.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.contract.records import NS
from edge_agent.ports import Clock

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 6 * 3600.0
"""Seconds between two looks at the files: their dates are told in days, and they may be renewed while we run."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x17, 0x18
_LONG_FORM = 0x80
"""Set in a DER length that spans several bytes."""

ANNOUNCE_DAYS = (30, 7, 1)
"""Days before the end at which it is announced."""


def expiries(pem: str) -> list[datetime]:
    """Return the end of each certificate in a PEM text.

    Raises:
        ValueError: one of them is damaged.
    """
    return [_not_after(ssl.PEM_cert_to_DER_cert(found.group())) for found in _PEM.finditer(pem)]


def days_left(ends: list[datetime], now: datetime) -> float | None:
    """Return the days until the first end, negative after it; None without certificates."""
    return min(((end - now).total_seconds() / 86400 for end in ends), default=None)


def announcement(days: float | None, announced: float | None) -> int | None:
    """Return the limit among `ANNOUNCE_DAYS` that was crossed since the last look, or None."""
    if days is None:
        return None
    crossed = [limit for limit in ANNOUNCE_DAYS if days <= limit and (announced is None or announced > limit)]
    return min(crossed, default=None)


def _not_after(der: bytes) -> datetime:
    try:
        start, end = _inside(der, *_inside(der, 0, len(der)))
        while start < end:
            inner, following = _inside(der, start, end)
            if der[start] == _SEQUENCE and der[inner] in (_UTC_TIME, _GENERALIZED_TIME):
                _, second = _inside(der, inner, following)
                text_start, text_end = _inside(der, second, following)
                return _time(der[second], der[text_start:text_end].decode("ascii"))
            start = following
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("a certificate is cut off or damaged") from error
    raise ValueError("a certificate names no dates")


def _inside(der: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the content of the DER item at `start` begins and ends."""
    length, content = der[start + 1], start + 2
    if length & _LONG_FORM:
        size = length & ~_LONG_FORM
        length, content = int.from_bytes(der[content : content + size], "big"), content + size
    if content + length > end:
        raise IndexError
    return content, content + length


def _time(tag: int, text: str) -> datetime:
    if tag == _GENERALIZED_TIME:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    year = int(text[:2])
    century = "20" if year < 50 else "19"  # noqa: PLR2004 - RFC 5280, 4.1.2.5.1
    return datetime.strptime(century + text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


class CertificateWatch:
    """Announces the end of certificates, and tells how many days are left."""

    def __init__(self, paths: Sequence[Path], clock: Clock) -> None:
        """Take PEM files; nothing is read yet."""
        self._paths, self._clock = tuple(paths), clock
        self._due_ns = clock.monotonic_ns()
        self._ends: list[datetime] = []
        self._told: float | None = None

    @property
    def days(self) -> float | None:
        """Days until the first of them ends, negative after it; None without certificates."""
        left = days_left(self._ends, datetime.fromtimestamp(self._clock.now_ns() / NS, UTC))
        return None if left is None else round(left, 1)

    def look(self) -> None:
        """Read the files and announce an end that is near; cheap when called often."""
        now_ns = self._clock.monotonic_ns()
        if not self._paths or now_ns < self._due_ns:
            return
        self._due_ns = now_ns + int(LOOK_EVERY_S * NS)
        try:
            self._ends = [end for path in self._paths for end in expiries(path.read_text("ascii", "replace"))]
        except (OSError, ValueError) as error:
            _LOG.warning("the dates of our certificates cannot be read: %s", error)
            return
        days = self.days
        if announcement(days, self._told) is not None:
            _LOG.warning("a certificate of the link expires in %.1f days: renew ca_file or cert_file", days)
        self._told = days
