"""Which bundle a stream runs: the one named in its settings, else the installed one, else the one before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from edge_agent.config import StreamSettings
from edge_agent.contract.bundle import Bundle, FrameBundle
from edge_agent.errors import BundleError
from edge_agent.update.slots import Slots

B = TypeVar("B", Bundle, FrameBundle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[B]):
    """The bundle to run, and what was wrong on the way to it."""

    bundle: B | None
    problem: str = ""
    others: tuple[Path, ...] = ()
    """What to try where no graph of the bundle runs."""


def find_bundle(settings: StreamSettings, folder: Path) -> Found[Bundle]:
    """Read the bundle of a stream: the one named in the settings, else the installed one, else the one before it."""
    return first_readable(_places(settings, folder), [], Bundle.read)


def find_frame_bundle(settings: StreamSettings, folder: Path) -> Found[FrameBundle]:
    """Read the bundle of a camera, as `find_bundle` does."""
    return next_frame_bundle(_places(settings, folder), [])


def next_frame_bundle(places: Sequence[Path], problems: list[str]) -> Found[FrameBundle]:
    """Read the first bundle of a camera that can be read; `problems` gets why the ones before cannot."""
    return first_readable(places, problems, FrameBundle.read)


def _places(settings: StreamSettings, folder: Path) -> list[Path]:
    slots = Slots(folder / "slots")
    return [Path(settings.bundle)] if settings.bundle else [p for p in (slots.current(), slots.previous()) if p]


def first_readable(places: Sequence[Path], problems: list[str], read: Callable[[Path], B]) -> Found[B]:
    """Read the first bundle that can be read; `problems` gets why the ones before cannot."""
    for i, path in enumerate(places):
        try:
            return Found(bundle=read(path), problem="; ".join(problems), others=tuple(places[i + 1 :]))
        except (BundleError, OSError) as error:
            problems.append(f"{path.name}: {error}")
    return Found(bundle=None, problem="; ".join(problems))
