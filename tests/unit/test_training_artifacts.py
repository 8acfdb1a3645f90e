"""The run folder: written, read back, and refused where it is not what it says."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import DecisionSpec, InputSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Channel
from training.artifacts import Run, RunError, RunInfo, write_info, write_json

INFO = RunInfo(
    name="pump",
    created="2024-01-01T00:00:00+00:00",
    detector="pca",
    has_body=False,
    body_range=20.0,
    centre=(1.0, 2.0),
    spread=(0.5, 0.25),
    input=InputSpec(
        channels=(Channel(name="a", unit="bar", low=0.0), Channel(name="b")),
        rate_hz=2.0,
        window=4,
        max_gap_s=2.0,
        stuck_samples=(12, None),
    ),
    decision=DecisionSpec(rule=DecisionRule(hold_off_s=10.0), alarms_per_day=1.0),
    k=3.0,
    prefilter_mode=Mode.GATE,
    max_skip_s=60.0,
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write_info(tmp_path, INFO)
    assert Run.read(tmp_path).info == INFO


def test_a_folder_that_is_no_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run.json.*fit"):
        Run.read(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format", 2, "format must be 1, got 2"),
        ("spread", [0.5], "one figure per channel"),
        ("spread", [0.5, 0.0], "above 0"),
        ("centre", ["x", 1], "must be a number"),
        ("colour", "red", "unknown key"),
    ],
)
def test_a_run_that_says_something_impossible_is_refused(tmp_path: Path, key: str, value: object, words: str) -> None:
    write_info(tmp_path, INFO)
    said = json.loads((tmp_path / "run.json").read_text()) | {key: value}
    write_json(tmp_path / "run.json", said)
    with pytest.raises(RunError, match=words):
        Run.read(tmp_path)


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    normal = {
        "train_windows": np.zeros((5, 4, 2), np.float32),
        "train_t_ns": np.arange(5),
        "validation_values": np.zeros((9, 2), np.float32),
        "validation_t_ns": np.arange(9),
    }
    return normal | changes


def test_arrays_are_given_as_they_were_kept(tmp_path: Path) -> None:
    write_info(tmp_path, INFO)
    np.savez(tmp_path / "normal.npz", **arrays())
    run = Run.read(tmp_path)
    assert run.train_windows.shape == (5, 4, 2)
    assert [len(part) for part in run.validation] == [9, 9]
    assert run.faulty is None
    assert run.spread.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "changes",
    [
        {"train_windows": np.zeros((5, 3, 2), np.float32)},
        {"train_windows": np.zeros((5, 4, 2), np.float64)},
        {"validation_values": np.zeros((8, 2), np.float32)},
        {"train_t_ns": np.zeros(4, np.int64)},
        {"validation_t_ns": np.array([object()] * 9)},
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    write_info(tmp_path, INFO)
    np.savez(tmp_path / "normal.npz", **arrays(**changes))
    with pytest.raises(RunError, match=r"normal.npz"):
        _ = Run.read(tmp_path).validation


@pytest.mark.parametrize("kept", [0, 100, 600])
def test_arrays_cut_short_are_told_as_that(tmp_path: Path, kept: int) -> None:
    write_info(tmp_path, INFO)
    np.savez(tmp_path / "normal.npz", **arrays())
    os.truncate(tmp_path / "normal.npz", kept)
    with pytest.raises(RunError, match=r"normal.npz is damaged or cut short \(.*\): fit again"):
        _ = Run.read(tmp_path).validation


@pytest.mark.parametrize("name", ["normal.npz", "prefilter.npz", "graph", "recipe.toml", "metrics.json"])
def test_a_missing_part_is_named_when_it_is_asked_for(tmp_path: Path, name: str) -> None:
    write_info(tmp_path, INFO)
    run = Run.read(tmp_path)
    attribute = {"normal.npz": "train_windows"}.get(name, name.split(".", maxsplit=1)[0])
    with pytest.raises(RunError, match=name):
        getattr(run, attribute)


def test_the_run_folder_is_read_without_tensorflow() -> None:
    import subprocess
    import sys

    code = "import sys, training.artifacts; assert not {'tensorflow', 'keras', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
