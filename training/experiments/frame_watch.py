"""What the frame prefilter alone makes of a folder of frames, as a device with a camera and no model would.

    python -m training.experiments.frame_watch FOLDER [--learn 200] [--rate-hz 4] [--stop 287] [--odd-from 242]

Frames are the images of the folder in the order of their names, up to `--stop`. The first `--learn` are learned from;
of the rest it prints every event with its frame, and the share of frames that a network would have been spared: of all,
and of those before `--odd-from`, the first frame known not to be normal.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.contract.frames import Frame
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Transition
from edge_agent.sources.pixels import FrameCounters
from edge_agent.sources.recorded import ImagesSettings
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.frame_pipeline import FramePipeline
from edge_agent.vision.frame_prefilter import FramePrefilter, FramePrefilterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What came of it."""

    transitions: tuple[tuple[int, Transition], ...]
    """Frame number and what happened there."""
    spared: tuple[bool, ...]
    """For each frame after those learned from: whether the network was spared it."""


def watch(frames: Iterable[Frame], learn_frames: int, rate_hz: float) -> Watched:
    """Learn from the first frames and watch the rest, with the default settings of a device that gates."""
    learn_s = (learn_frames - 1) / rate_hz
    settings = FramePrefilterSettings(mode=Mode.GATE, learn_frames=learn_frames, learn_s=learn_s)
    prefilter, numbers = FramePrefilter(settings), itertools.count(1)
    alone = FramePipeline(
        health=CameraHealth(),
        prefilter=prefilter,
        network=None,
        rule=settings.rule,
        new_id=lambda: f"event {next(numbers)}",
    )
    transitions: list[tuple[int, Transition]] = []
    spared: list[bool] = []
    for frame in frames:
        before = prefilter.skipped
        if decided := alone.feed(frame):
            transitions += [(frame.number, transition) for transition in decided.decision.transitions]
        if frame.number >= learn_frames:
            spared.append(prefilter.skipped > before)
    return Watched(transitions=tuple(transitions), spared=tuple(spared))


def main(arguments: Sequence[str] | None = None) -> None:
    """Watch a folder and print what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="with images, in the order of their names")
    parser.add_argument("--learn", type=int, default=200, metavar="FRAMES", help="learned from (default 200)")
    parser.add_argument("--rate-hz", type=float, default=4.0, help="frames a second (default 4)")
    parser.add_argument("--stop", type=int, metavar="FRAME", help="first image that is no frame (default: none)")
    parser.add_argument("--odd-from", type=int, metavar="FRAME", help="first frame that is not normal")
    given = parser.parse_args(arguments)
    frames = ImagesSettings(path=str(given.folder), rate_hz=given.rate_hz).frames(
        FrameCounters(source=str(given.folder))
    )
    result = watch(itertools.islice(frames, given.stop), given.learn, given.rate_hz)
    print(f"{given.learn} frames learned from, {len(result.spared)} watched")
    for number, transition in result.transitions:
        level = "" if transition.level is None else f", level {transition.level:.2f}"
        print(f"frame {number}: {transition.id} {transition.kind} {transition.life}{level}")
    print(f"spared the network: {_share(result.spared)}")
    if given.odd_from is not None:
        print(f"of those before frame {given.odd_from}: {_share(result.spared[: given.odd_from - given.learn])}")


def _share(spared: Sequence[bool]) -> str:
    return f"{sum(spared)} of {len(spared)} frames" + (f" ({sum(spared) / len(spared):.0%})" if spared else "")


if __name__ == "__main__":
    main()
