"""Watching a folder of frames with the prefilter alone, and the tree that waves before a person comes."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.sources.pixels import FrameCounters
from edge_agent.sources.recorded import ImagesSettings
from tests.conftest import DATA
from training.experiments.frame_watch import main, watch

LEARNED, PERSON, LATEST, FRAMES = 200, 242, 245, 287
"""Frames of the recording that are learned from, in which a person enters, and by which that must be an event;
and how many there are: a mask drawn by hand comes after them."""


@pytest.fixture
def waving_trees() -> Path:
    """The waving trees of Wallflower (Toyama et al. 1999)."""
    folder = DATA / "wavingtrees"
    if not folder.is_dir():
        pytest.skip(f"needs the frames of waving trees in {folder} (set ANOMALITE_DATA)")
    return folder


@pytest.mark.data
def test_a_waving_tree_is_normal_and_a_person_before_it_is_not(waving_trees: Path) -> None:
    source = ImagesSettings(path=str(waving_trees), rate_hz=4.0).frames(FrameCounters(source="trees"))
    result = watch(itertools.islice(source, FRAMES), LEARNED, rate_hz=4.0)
    opened = [number for number, each in result.transitions if each.life == "open"]
    assert len(opened) == 1
    assert PERSON <= opened[0] <= LATEST
    assert sum(result.spared[: PERSON - LEARNED]) > 0
    assert not any(result.spared[PERSON - LEARNED :][:10])


def test_what_happened_is_printed_with_its_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    room = rng.integers(60, 160, (48, 64, 1)) * np.ones(3)
    for number in range(31):
        light = 1.0 if number < 20 else 0.5
        frame = light * room + rng.normal(0, 1, room.shape)
        cv2.imwrite(str(tmp_path / f"frame{number:02}.png"), np.clip(frame, 0, 255).astype(np.uint8))
    main([str(tmp_path), "--learn", "10", "--stop", "30", "--odd-from", "20"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10 frames learned from, 20 watched"
    assert lines[1] == "frame 20: event 1 scene_changed open"
    assert lines[-1] == "of those before frame 20: 9 of 10 frames (90%)"
