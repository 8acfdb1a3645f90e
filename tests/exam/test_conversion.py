"""From SavedModel to bundle on small graphs, with the real converter and the real runtimes.

One child process converts a graph to all formats; the whole file takes some 60 s on two cores, most of it TensorFlow
starting.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters import cli
from converters.build import Build, Options, build
from converters.conversion import Child, Conversion, convert
from converters.refusal import Refused
from converters.runtimes import DEFAULT_TFLITE_PYTHON
from converters.summary import summary
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Grade
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import DecisionSpec, InputSpec
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import NS, Channel, Floats
from edge_agent.scoring.selection import choose
from edge_agent.scoring.settings import ScoringSettings
from tests.bundles import bundle_bytes
from training.artifacts import Run, RunInfo, write_info, write_json

T, C = 16, 3
CENTRE, SPREAD = np.array([1.0, -2.0, 30.0]), np.array([0.5, 1.0, 4.0])
TRAIN, VALIDATION, FAULTY = 600, 500, 400


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels, made in a process of their own: this one never imports TensorFlow."""
    folder = tmp_path_factory.mktemp("graphs")
    script = Path(__file__).with_name("small_graphs.py")
    kinds = ["autoencoder", "stream", "looped"]
    subprocess.run([sys.executable, script, folder, *kinds], check=True, capture_output=True, timeout=120)
    return folder


def readings(rows: int, seed: int) -> Floats:
    """Two waves and noise, float32 [rows, C] in the channels' units."""
    rng, t = np.random.default_rng(seed), np.arange(rows)[:, np.newaxis] + 1000 * seed
    z = 0.7 * np.sin(t / np.array([3, 5, 8])) + 0.7 * rng.standard_normal((rows, C))
    return (CENTRE + SPREAD * z).astype(np.float32)


def run_folder(path: Path, graph: Path, *, streaming: bool) -> Run:
    """A complete run around a SavedModel."""
    path.mkdir()
    (path / "graph").symlink_to(graph)
    rows, train = 1 if streaming else T, readings(TRAIN, 1)
    windows = np.lib.stride_tricks.sliding_window_view(train, rows, axis=0).transpose(0, 2, 1).copy()
    faulty, labels = readings(FAULTY, 3), np.zeros(FAULTY, bool)
    faulty[200:300, 1] += 8
    labels[200:300] = True
    t_ns = np.arange(2000, dtype=np.int64) * NS
    (path / "normal.npz").write_bytes(
        write_npz(
            {
                "train_windows": windows,
                "train_t_ns": t_ns[rows - 1 : TRAIN],
                "validation_values": readings(VALIDATION, 2),
                "validation_t_ns": t_ns[:VALIDATION],
            }
        )
    )
    (path / "faulty.npz").write_bytes(write_npz({"values": faulty, "t_ns": t_ns[:FAULTY], "labels": labels}))
    Prefilter.fit(windows).to_npz(path / "prefilter.npz")
    (path / "recipe.toml").write_text('[detector]\ntype = "small"\n')
    write_json(path / "metrics.json", {})
    write_json(path / "provenance.json", {"data": {"sha256": "00"}})
    channels = tuple(Channel(name=f"channel{number}") for number in range(C))
    write_info(
        path,
        RunInfo(
            name="small",
            created="2026-01-02T03:04:05Z",
            detector="small",
            has_body=True,
            body_range=20.0,
            centre=tuple(CENTRE.tolist()),
            spread=tuple(SPREAD.tolist()),
            k=3.0,
            prefilter_mode=Mode.GATE,
            max_skip_s=60.0,
            input=InputSpec(
                channels=channels,
                rate_hz=1.0,
                window=rows,
                hold=2,
                max_gap_s=3.5,
                stuck_samples=(50,) * C,
                streaming=streaming,
                warm_up=10 if streaming else 0,
            ),
            decision=DecisionSpec(rule=DecisionRule(hold_off_s=10.0), alarms_per_day=1.0),
        ),
    )
    return Run.read(path)


@pytest.fixture(scope="module")
def windowed(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    run = run_folder(tmp_path_factory.mktemp("run") / "windowed", graphs / "autoencoder", streaming=False)
    return build(run, Options(provisional=True), lambda _: None)


@pytest.fixture(scope="module")
def streamed(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    run = run_folder(tmp_path_factory.mktemp("run") / "streamed", graphs / "stream", streaming=True)
    return build(run, Options(provisional=True), lambda _: None)


@pytest.mark.parametrize("kind", ["windowed", "streamed"])
def test_every_format_detects_what_the_float_model_detects(kind: str, request: pytest.FixtureRequest) -> None:
    made: Build = request.getfixturevalue(kind)
    assert set(made.graphs) == {"float32", "float16", "int8"}, made.refused
    assert all(parity.problems() == [] for graph in made.graphs.values() for parity in graph.parity.values())


@pytest.mark.parametrize("kind", ["windowed", "streamed"])
def test_the_bundle_runs_on_the_device_and_passes_its_golden_data(kind: str, request: pytest.FixtureRequest) -> None:
    bundle = Bundle.read(request.getfixturevalue(kind).data)
    _, scorer, trials = choose(bundle, ScoringSettings())
    assert [trial.problem for trial in trials] == ["", "", ""]
    assert scorer.streaming is (kind == "streamed")


@pytest.mark.parametrize("kind", ["windowed", "streamed"])
def test_front_and_head_stay_float(kind: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(kind).graphs["int8"].facts
    assert facts.types["INT8"] > 0
    assert all(tensor.type == "FLOAT32" for side in (facts.inputs, facts.outputs) for tensor in side.values())
    assert facts.operators["QUANTIZE"] >= 1


def test_a_fault_in_the_labelled_data_is_found_through_the_devices_pipeline(windowed: Build) -> None:
    for by_data in windowed.backtests.values():
        assert (by_data["labelled"].detected, by_data["labelled"].faults) == (1, 1)
        assert by_data["validation"].events == 0


def test_each_graph_has_its_own_threshold_of_a_named_grade(windowed: Build) -> None:
    assert windowed.manifest is not None
    calibrations = [graph.calibration for graph in windowed.manifest.graphs]
    assert len({calibration.threshold for calibration in calibrations}) == len(calibrations)
    assert {calibration.grade for calibration in calibrations} == {Grade.PROVISIONAL}


def test_the_prefilter_hides_at_most_one_in_a_hundred_alarms(windowed: Build) -> None:
    assert windowed.gate is not None
    assert windowed.gate.hidden_injected <= 0.01
    assert windowed.gate.hidden_labelled is not None
    assert windowed.gate.hidden_labelled <= 0.01


def test_a_streaming_graph_is_never_gated(streamed: Build) -> None:
    assert streamed.manifest is not None
    assert streamed.manifest.prefilter.mode is Mode.WATCH


def test_the_same_run_gives_the_same_bytes_and_a_table_of_figures(
    windowed: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.bundle"
    assert cli.main(["build", str(windowed.run.path), "--out", str(out), "--provisional"]) == 0
    assert out.read_bytes() == windowed.data
    shown = capsys.readouterr()
    assert "PROVISIONAL" in shown.out
    assert "int8" in shown.out
    assert "converting to int8" in shown.err


def test_a_provisional_threshold_is_refused_unless_asked_for(
    windowed: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("converters.build.convert", lambda *_, **__: _converted(windowed))
    often = ["--formats", "float32", "--alarms-per-day", "100"]  # long enough for a tail, had it as many peaks
    assert cli.main(["build", str(windowed.run.path), *often]) == cli.EXIT_REFUSED
    assert "do not support 100 false alarms a day" in capsys.readouterr().err


def test_too_little_normal_data_are_refused_before_anything_is_converted(
    windowed: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("converters.build.convert", lambda *_, **__: pytest.fail("it was converted"))
    assert cli.main(["build", str(windowed.run.path)]) == cli.EXIT_REFUSED
    said = capsys.readouterr().err
    assert "do not support 1 false alarm a day" in said
    assert "Record at least 2 h 16 min more" in said
    assert "--provisional" in said


def test_a_detector_without_a_network_is_made_as_float32_alone_and_the_rest_is_not_called_refused(
    windowed: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def converted(*_: object, formats: tuple[str, ...], **__: object) -> Conversion:
        asked.append(formats)
        return _converted(windowed)

    monkeypatch.setattr("converters.build.convert", converted)
    run = replace(windowed.run, info=replace(windowed.run.info, has_body=False))
    made = build(run, Options(provisional=True), lambda _: None)
    assert (asked, set(made.graphs), made.refused) == ([("float32",)], {"float32"}, {})
    assert "int8 not made: small has no network" in summary(made)
    with pytest.raises(Refused, match="it ships as float32"):
        build(run, Options(formats=("int8",), provisional=True), lambda _: None)


def test_a_bundle_is_not_backtested_on_a_run_of_other_channels(
    windowed: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.bundle"
    other.write_bytes(bundle_bytes())
    assert cli.main(["backtest", str(other), str(windowed.run.path)]) == cli.EXIT_REFUSED
    assert "has channel0, channel1, channel2" in capsys.readouterr().err


def test_a_graph_that_differs_is_refused_with_figures_and_an_alternative(
    windowed: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = _converted(windowed)
    assert broken.reference is not None
    broken.reference = np.random.default_rng(0).permutation(broken.reference)
    monkeypatch.setattr("converters.build.convert", lambda *_, **__: broken)
    with pytest.raises(
        Refused, match=r"int8: the int8 graph does not detect.*rank correlation .*; ship float16 or float32 instead"
    ):
        build(windowed.run, Options(provisional=True), lambda _: None)


@pytest.mark.skipif(not DEFAULT_TFLITE_PYTHON.exists(), reason="needs .venv-tflite, which `make device` builds")
def test_the_other_runtime_is_measured_where_it_is(windowed: Build) -> None:
    assert windowed.manifest is not None
    assert all(set(graph.parity) == {"litert", "tflite"} for graph in windowed.manifest.graphs)


def test_a_converter_that_dies_is_a_refusal_and_the_rest_goes_on(graphs: Path, tmp_path: Path) -> None:
    some = readings(40, 5)[: 2 * T].reshape(2, T, C)
    with contextlib.closing(Child()) as child:

        def converted(formats: tuple[str, ...]) -> Conversion:
            return convert(
                graphs / "looped",
                formats=formats,
                samples=some,
                cases=some,
                streaming=False,
                out=tmp_path,
                child=child,
            )

        found = converted(("int8", "float32"))
        assert found.refused == {"int8": "the converter process died with SIGSEGV while making int8, the whole body"}
        assert set(found.models) == {"float32"}
        process = child._process
        assert converted(("float32",)).models == found.models
        assert child._process is process, "the next run must not start another"


def _converted(made: Build) -> Conversion:
    """What the conversion of this build gave, without converting again."""
    folder = made.run.path / "build"
    return Conversion(
        models={graph_format: graph.model for graph_format, graph in made.graphs.items()},
        reference=np.load(folder / "reference_score.npy"),
    )
