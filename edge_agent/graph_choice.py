"""Which graph watches a sensor: one of the installed bundle, else of the one before, else none.

A bundle that is for other channels than those of the source is passed over, the first alone excepted: that is told as a
fault. Where an on-site calibration is for a graph of the bundle, that graph runs, even if another is faster today. What
was chosen once is loaded again after a failure without being measured again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.records import Channel
from edge_agent.errors import BundleError, ScoringError
from edge_agent.found_bundle import Found, first_readable
from edge_agent.ports import Scorer
from edge_agent.scoring.selection import choose
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.site_model import site_of

_log = logging.getLogger(__name__)


def channel_problem(mine: Sequence[Channel], wanted: Sequence[Channel]) -> str:
    """Say how the channels of a source differ from a bundle's in name, order or unit; empty where they do not.

    A unit that one of them does not tell is no difference.
    """
    names, expected = [c.name for c in mine], [c.name for c in wanted]
    if names != expected:
        hint = " in another order" if sorted(names) == sorted(expected) else ""
        return f"the source gives the channels {', '.join(names)}; the bundle wants {', '.join(expected)}{hint}"
    units = [
        f"{a.name} in {a.unit!r} instead of {b.unit!r}"
        for a, b in zip(mine, wanted, strict=True)
        if a.unit and b.unit and a.unit != b.unit
    ]
    return f"the source gives {', '.join(units)}" if units else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A bundle and the graph of it that runs; without a scorer, its Gaussian watches alone."""

    bundle: Bundle
    spec: GraphSpec
    scorer: Scorer | None
    problem: str
    """Why nothing better runs."""


class GraphChoice:
    """Chooses the graph of one stream.

    Args:
        name: of the stream.
        settings: which graph is wanted, and how it runs.
        folder: of the stream, where its on-site calibration is.
        channels: of its source.
    """

    def __init__(self, name: str, settings: ScoringSettings, folder: Path, channels: Sequence[Channel]) -> None:
        self._name, self._settings, self._folder, self._channels = name, settings, folder, channels
        self._chosen: tuple[Bundle, str, str] | None = None

    def choose(self, first: Bundle, others: tuple[Path, ...] = (), problem: str = "") -> Choice:
        """Return the first bundle of which a graph runs here, without a scorer where there is none.

        Args:
            first: the bundle that was found.
            others: where others are that may serve in its place.
            problem: what was wrong on the way to it.
        """
        if self._chosen is not None:
            try:
                return self._load(*self._chosen)
            except (ScoringError, BundleError) as error:
                _log.warning("stream %s: the %s graph does not load again: %s", self._name, self._chosen[1], error)
        problems = [problem] if problem else []
        found: Found[Bundle] = Found(bundle=first, others=others)
        while found.bundle is not None:
            try:
                return self._load(found.bundle, self.preferred(found.bundle), "; ".join(problems))
            except (ScoringError, BundleError) as error:
                manifest = found.bundle.manifest
                problems.append(f"{manifest.name} {manifest.version}: {error}")
                found = self._next_bundle(found.others, problems)
        problem = "; ".join(problems)
        _log.error("stream %s: %s; the Gaussian watches alone", self._name, problem)
        return Choice(bundle=first, spec=first.manifest.graphs[0], scorer=None, problem=problem)

    def preferred(self, bundle: Bundle) -> str:
        """Return the graph to run: the one that was calibrated on site, where the settings leave it open."""
        site, _ = site_of(self._folder, bundle)
        if site is None or self._settings.graph != "auto":
            return self._settings.graph
        own = [spec.format for spec in bundle.manifest.graphs if spec.sha256 == site.graph_sha256]
        return str(own[0]) if own else "auto"

    def _next_bundle(self, places: tuple[Path, ...], problems: list[str]) -> Found[Bundle]:
        """Return the next bundle that can be read and is for the channels of the source."""
        found = first_readable(places, problems, Bundle.read)
        while found.bundle is not None:
            wrong = channel_problem(self._channels, found.bundle.manifest.input.channels)
            if not wrong:
                break
            problems.append(f"{found.bundle.manifest.name} {found.bundle.manifest.version}: {wrong}")
            found = first_readable(found.others, problems, Bundle.read)
        return found

    def _load(self, bundle: Bundle, graph: str, problem: str) -> Choice:
        """Load a graph of a bundle; where the preferred one does not run here, any other.

        Raises:
            ScoringError: none may run.
            BundleError: the bundle's golden data cannot be read.
        """
        try:
            trial, scorer, _ = choose(bundle, replace(self._settings, graph=graph))
        except ScoringError as error:
            if graph == self._settings.graph:
                raise
            _log.warning("stream %s: the %s graph does not run here: %s", self._name, graph, error)
            trial, scorer, _ = choose(bundle, self._settings)
        self._chosen = bundle, str(trial.spec.format), problem
        return Choice(bundle=bundle, spec=trial.spec, scorer=scorer, problem=problem)
