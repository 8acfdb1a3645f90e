"""Parts of the converters that need no TensorFlow: packing, golden data, replay, reasons, arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import cli
from converters.cases import Cases
from converters.golden import FLOAT_TOLERANCE, golden_arrays, golden_index, tolerances
from converters.pack import pack, write
from converters.refusal import Refused
from converters.replay import faulty_stretches, recordings, stretches
from converters.running import Outputs
from converters.runtimes import Measured, find_tflite_python
from converters.tf_child import reason_of
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphFormat
from edge_agent.contract.records import NS
from tests.bundles import INPUT, manifest, members

CASES = Cases(
    inputs=np.arange(40, dtype=np.float32).reshape(40, 1, 1),
    normal=20,
    faulty=15,
    growth=(1, 5),
    growth_inside=2,
    warm_up=0,
)
SCORES = np.linspace(1, 2, 40).astype(np.float32)


def measured(runtime: str, factor: float, *, plain: float = 1.0) -> Measured:
    factors = np.float32(factor), np.float32(plain)
    usual, other = (Outputs(scores=SCORES * each) for each in factors)
    return Measured(runtime=runtime, version="1", usual=usual, plain=other)


def test_a_packed_bundle_is_the_same_each_time_and_is_read_back() -> None:
    files = members()
    data = pack(manifest(files), files)
    assert data == pack(manifest(files), dict(reversed(files.items())))
    assert Bundle.read(data).members == files


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.bundle"
    for data in (b"first", b"second"):
        write(path, data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_golden_cases_are_normal_and_faulty_ones_but_no_growing_ones() -> None:
    chosen = golden_index(CASES)
    assert (chosen < 20).sum() == (chosen >= 20).sum() == 8
    assert chosen.max() < 35


def test_golden_arrays_hold_inputs_and_scores_of_the_same_cases() -> None:
    golden = golden_arrays(CASES, {"float32": SCORES}, streaming=False)
    assert list(golden) == ["windows", "score_float32"]
    np.testing.assert_array_equal(golden["score_float32"], SCORES[golden["windows"].ravel().astype(int)])


def test_the_tolerance_of_int8_is_what_was_seen_with_a_margin() -> None:
    found = tolerances(GraphFormat.INT8, [measured("litert", 1.0), measured("tflite", 1.02)], CASES)
    assert found["litert"] == 0.002
    assert found["tflite"] == pytest.approx(2 * 0.02 * 2 / (2 + np.median(SCORES)), rel=0.1)


def test_float_graphs_must_agree_between_runtimes() -> None:
    assert tolerances(GraphFormat.FLOAT32, [measured("litert", 1.0)], CASES) == {"litert": FLOAT_TOLERANCE}
    with pytest.raises(Refused, match="not stable in float32"):
        tolerances(GraphFormat.FLOAT32, [measured("litert", 1.0), measured("tflite", 1.001)], CASES)


def test_kernels_without_xnnpack_count_as_well() -> None:
    with pytest.raises(Refused, match="not stable in float32"):
        tolerances(GraphFormat.FLOAT16, [measured("litert", 1.0, plain=1.001)], CASES)


def test_runtimes_that_disagree_wildly_leave_nothing_to_test() -> None:
    with pytest.raises(Refused, match="golden data would test nothing"):
        tolerances(GraphFormat.INT8, [measured("litert", 1.0), measured("tflite", 2.0)], CASES)


def test_a_gap_parts_the_windows_into_stretches() -> None:
    t_ns = np.concatenate([np.arange(20), 100 + np.arange(10)]).astype(np.int64) * NS
    values = np.random.default_rng(0).uniform(1, 9, (30, 2)).astype(np.float32)
    found = stretches(INPUT.rule(), values, t_ns)
    assert [len(stretch.t_ns) for stretch in found] == [17, 7]
    np.testing.assert_array_equal(found[1].windows[0], values[20:24])


def test_a_window_is_faulty_by_its_last_row_in_whatever_order_recordings_follow() -> None:
    values = np.random.default_rng(0).uniform(1, 9, (24, 2)).astype(np.float32)
    t_ns = np.concatenate([100 + np.arange(12), np.arange(12)]).astype(np.int64) * NS
    labels = np.isin(np.arange(24), [6, 7, 20])
    found = list(faulty_stretches(INPUT.rule(), values, t_ns, labels))
    assert [(np.flatnonzero(faulty) + 3).tolist() for _, faulty in found] == [[6, 7], [8]]


def test_time_that_does_not_rise_begins_a_new_recording() -> None:
    assert recordings(np.array([5, 6, 6, 1, 2], np.int64)) == [slice(0, 2), slice(2, 3), slice(3, 5)]


def test_an_operator_that_tflite_does_not_have_is_named() -> None:
    error = RuntimeError("loc(...): 'tf.BesselI0' op is neither a custom op nor a flex op <unknown>")
    assert reason_of(error).startswith("no TFLite operator does what TensorFlow's BesselI0 does")


def test_a_converters_endless_message_is_cut() -> None:
    assert len(reason_of(RuntimeError("x " * 10_000))) < 500


def test_an_interpreter_that_is_named_but_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="with tflite-runtime is not there"):
        find_tflite_python(tmp_path / "python")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", str(tmp_path)]) == cli.EXIT_REFUSED
    assert "is not a run folder" in capsys.readouterr().err


def test_what_the_disk_refuses_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("converters.cli.read_run", denied)
    assert cli.main(["build", "runs/pump"]) == cli.EXIT_REFUSED
    assert capsys.readouterr().err == "refused: [Errno 13] Permission denied: 'runs/pump'\n"


@pytest.mark.parametrize(
    "arguments", [["--formats", "int4"], ["--alarms-per-day", "0"], ["--alarms-per-day", "nan"], ["--mode", "x"]]
)
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["build", "run", *arguments])
    assert exit_info.value.code == 2
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("command", ["build", "convert", "backtest"])
def test_the_help_of_each_command_shows_it_at_work(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    _usage, _, told = capsys.readouterr().out.partition("\n\n")
    assert f"  python -m converters {command} " in told


def test_the_converters_import_no_tensorflow() -> None:
    code = "import sys; sys.modules['tensorflow'] = None; import converters.cli, converters.tf_child"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
