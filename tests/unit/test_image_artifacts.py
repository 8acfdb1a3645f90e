"""The run folder of images: written, read back, refused where it is not what it says; thresholds from its frames."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frame_manifest import FrameSpec
from edge_agent.contract.manifest import DecisionSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.strict_json import plain
from training.artifacts import Run, RunError, write_info, write_json
from training.image_artifacts import (
    FrameRun,
    FrameRunInfo,
    JudgedImage,
    Optimism,
    Parts,
    read_run,
    spread,
    write_frames,
)

INFO = FrameRunInfo(
    name="bottle",
    created="2024-01-01T00:00:00+00:00",
    detector="padim",
    has_map=True,
    input=FrameSpec(width=16, height=32, interval_s=2.0, masks=(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)),)),
    decision=DecisionSpec(rule=DecisionRule(n=1, m=1, hold_off_s=10.0), alarms_per_day=1.0),
    k=3.0,
    prefilter_mode=Mode.WATCH,
    max_skip_s=10.0,
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_info(tmp_path, INFO)
    run = read_run(tmp_path)
    assert isinstance(run, FrameRun)
    assert run.info == INFO


def test_a_run_of_the_other_kind_is_refused_by_name(tmp_path: Path) -> None:
    write_info(tmp_path, INFO)
    with pytest.raises(RunError, match="of kind 'frame', expected 'sensor'"):
        Run.read(tmp_path)
    said = json.loads((tmp_path / "run.json").read_text())
    del said["kind"]
    write_json(tmp_path / "run.json", said)
    with pytest.raises(RunError, match="of kind 'sensor', expected 'frame'"):
        FrameRun.read(tmp_path)


def test_a_run_without_an_array_of_this_version_says_to_fit_again(tmp_path: Path) -> None:
    frames = np.zeros((2, 32, 16, 3), np.uint8)
    np.savez(tmp_path / "frames.npz", calibration=frames, validation=frames, test=frames, test_labels=np.zeros(2, bool))
    with pytest.raises(RunError, match=r"frames\.npz has no optimism, map_optimism, test_kinds: .* fit again"):
        _ = FrameRun(path=tmp_path, info=INFO).validation


def test_a_run_of_another_version_says_to_fit_again(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", plain(INFO) | {"format": 9})
    with pytest.raises(RunError, match="format must be 1, got 9: fit again"):
        FrameRun.read(tmp_path)


def frames(count: int) -> np.ndarray:
    return np.full((count, 32, 16, 3), 7, np.uint8)


def test_frames_are_read_back(tmp_path: Path) -> None:
    write_frames(tmp_path, calibration=frames(3), validation=frames(2), test=frames(1), test_labels=np.array([True]))
    run = FrameRun(path=tmp_path, info=INFO)
    assert [len(part) for part in (run.calibration, run.validation, run.test)] == [3, 2, 1]
    assert run.test_labels.tolist() == [True]


def test_frames_of_another_size_or_without_a_label_each_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, calibration=frames(3), validation=frames(2), test=frames(2), test_labels=np.array([True]))
    with pytest.raises(RunError, match="test_labels must be"):
        _ = FrameRun(path=tmp_path, info=INFO).test
    wider = FrameRun(path=tmp_path, info=replace(INFO, input=FrameSpec(width=32, height=32, interval_s=1.0)))
    with pytest.raises(RunError, match="calibration must be"):
        _ = wider.calibration


@pytest.mark.parametrize(("scores", "maps"), [(1, 2), (2, 1), (2, 0)])
def test_optimism_of_other_frames_than_those_of_validation_is_refused(tmp_path: Path, scores: int, maps: int) -> None:
    of_maps = np.ones((maps, 4, 4), np.float32) if maps else None
    write_frames(
        tmp_path,
        calibration=frames(3),
        validation=frames(2),
        test=frames(1),
        test_labels=np.array([True]),
        optimism=Optimism(scores=np.ones(scores, np.float32), maps=of_maps),
    )
    with pytest.raises(RunError, match=r"optimism is of .* frames, expected \[2, 2\]: fit again"):
        _ = FrameRun(path=tmp_path, info=INFO).optimism


def test_parts_are_read_back_and_refused_where_they_are_not_told(tmp_path: Path) -> None:
    image = JudgedImage(file="anomaly/a.png", kind="anomaly", defective=True, mask="ground_truth/anomaly/a.png")
    told = Parts(
        folder="/images",
        sequence=False,
        training=("normal/ü.png",),
        stopping=(),
        defective=(),
        validation=("normal/v.png",),
        test=(image,),
        unreadable=(),
    )
    write_json(tmp_path / "images.json", plain(told))
    assert FrameRun(path=tmp_path, info=INFO).parts == told
    write_json(tmp_path / "images.json", {"folder": "/images"})
    with pytest.raises(RunError, match=r"images\.json: key 'sequence' is missing"):
        _ = FrameRun(path=tmp_path, info=INFO).parts


def test_a_few_normal_frames_give_a_provisional_threshold_over_their_time(tmp_path: Path) -> None:
    scores = np.linspace(0, 1, 101)
    found = FrameRun(path=tmp_path, info=INFO).calibrate(scores)
    assert found.grade == "provisional"
    assert found.threshold == pytest.approx(0.5 + 3 * (0.99 - 0.5))
    assert found.normal_days * 86_400 == pytest.approx(101 * 2.0, rel=0.02)


@pytest.mark.parametrize(
    ("count", "most", "places"), [(10, 4, [0, 3, 6, 9]), (3, 4, [0, 1, 2]), (0, 4, []), (5, 1, [0])]
)
def test_places_are_spread_evenly(count: int, most: int, places: list[int]) -> None:
    assert list(spread(count, most)) == places
