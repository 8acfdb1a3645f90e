"""From a run of images to a bundle on small graphs, with the real converter and the real runtimes.

One process converts both graphs. The compiler of the Edge TPU is a stand-in, since there is none to be had.
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
from converters.build import Options
from converters.conversion import Child, Conversion
from converters.frames.backtest import backtest
from converters.frames.build import FrameBuild, build_frames, frame_backtests
from converters.frames.thresholds import calibrate_graph
from converters.refusal import Refused
from converters.runtimes import DEFAULT_TFLITE_PYTHON
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.calibration import Grade
from edge_agent.contract.prefilter import Mode
from edge_agent.scoring.frame_selection import choose_frame_graph
from edge_agent.scoring.settings import ScoringSettings
from tests.frame_runs import GRID, WARM_UP, frame_run
from training.image_artifacts import FrameRun, Optimism, write_frames

FORMATS = {"float32", "float16", "int8", "edgetpu"}
PROVISIONAL = Options(provisional=True)
WITHOUT_TFLITE = "converters.frames.build.find_tflite_python", lambda _: None
"""Spares what does not depend on it the seconds of the other runtime."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    script = Path(__file__).with_name("small_frame_graphs.py")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def child():
    with contextlib.closing(Child()) as one:
        yield one


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory):
    """A stand-in for the Edge TPU's compiler on the path."""
    script = tmp_path_factory.mktemp("bin") / "edgetpu_compiler"
    script.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.fake_edgetpu_compiler "$@"\n')
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(script.parent), prepend=":")
        yield


@pytest.fixture(scope="module")
def stills(graphs, child, compiler, tmp_path_factory) -> FrameBuild:
    run = frame_run(tmp_path_factory.mktemp("run") / "stills", graphs / "stills", classes=("dent", "scratch"))
    return build_frames(run, PROVISIONAL, lambda _: None, child)


@pytest.fixture(scope="module")
def stream(graphs, child, compiler, tmp_path_factory) -> FrameBuild:
    run = frame_run(tmp_path_factory.mktemp("run") / "stream", graphs / "stream", streaming=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*WITHOUT_TFLITE)
        return build_frames(run, replace(PROVISIONAL, formats=("float32", "int8")), lambda _: None, child)


def test_every_format_detects_and_shows_what_the_float_model_does(stills: FrameBuild) -> None:
    assert set(stills.graphs) == FORMATS, (stills.refused, stills.not_made)
    assert all(parity.problems() == [] for graph in stills.graphs.values() for parity in graph.parity.values())
    for figure in ("map_correlation", "kinds_agreed"):
        assert all(figure in graph.parity["litert"] for graph in stills.manifest.graphs)


def test_the_bundle_runs_on_the_device_and_passes_its_golden_data(stills: FrameBuild) -> None:
    bundle = FrameBundle.read(stills.data)
    _, scorer, trials = choose_frame_graph(bundle, ScoringSettings())
    assert (scorer.map_shape, scorer.classes) == ((GRID, GRID), 2)
    problems = {str(trial.spec.format): trial.problem for trial in trials}
    assert "edgetpu-custom-op" in problems.pop("edgetpu")  # and no Edge TPU here
    assert set(problems.values()) == {""}


def test_golden_frames_hold_the_strangest_ones(stills: FrameBuild) -> None:
    scores = stills.judge.conversion.reference_scores()
    golden = FrameBundle.read(stills.data).golden()["score_float32"]
    assert len(golden) == 8
    assert np.sort(golden)[-4:] == pytest.approx(np.sort(scores)[-4:], rel=1e-4)


def test_score_and_map_of_each_graph_have_thresholds_of_their_own(stills: FrameBuild) -> None:
    graphs = {str(graph.format): graph for graph in stills.manifest.graphs}
    assert graphs["int8"].calibration.threshold != graphs["float32"].calibration.threshold
    assert graphs["int8"].map_calibration.threshold != graphs["int8"].calibration.threshold
    assert graphs["edgetpu"].calibration.threshold == pytest.approx(graphs["int8"].calibration.threshold)
    assert graphs["edgetpu"].calibration.grade is Grade.PROVISIONAL


def test_what_seeing_frames_is_worth_is_added_to_thresholds_and_decisions(stills: FrameBuild, tmp_path: Path) -> None:
    run, count = stills.run, len(stills.run.validation)
    above = Optimism(scores=np.zeros(count, np.float32), maps=np.zeros((count, GRID, GRID), np.float32))
    above.scores[:30], above.maps[:30] = 200, 300
    (tmp_path / "seen").mkdir()
    for name in ("run.json", "graph"):
        (tmp_path / "seen" / name).symlink_to(run.path / name)
    write_frames(
        tmp_path / "seen",
        calibration=run.calibration,
        validation=run.validation,
        test=run.test,
        test_labels=run.test_labels,
        test_kinds=run.test_kinds,
        optimism=above,
    )
    seen, graph = FrameRun.read(tmp_path / "seen"), stills.graphs["int8"]
    known, found = (calibrate_graph(each, graph, 1.0) for each in (run, seen))
    assert 200 < found.score.median < 200 + known.score.threshold
    assert 300 < found.map.median < 300 + known.map.threshold
    bundle = FrameBundle.read(stills.data)
    alarms, usual = frame_backtests(bundle, seen)["int8"], stills.backtests["int8"]
    assert alarms["validation"].false_alarms == 30 + backtest(bundle, "int8", seen.validation[30:]).false_alarms
    assert alarms["test"] == usual["test"]


def test_defects_are_found_as_the_device_decides(stills: FrameBuild) -> None:
    assert set(stills.backtests) == FORMATS - {"edgetpu"}  # which no machine without an accelerator can run
    for by_data in stills.backtests.values():
        assert (by_data["test"].found, by_data["test"].defective) == (20, 20)
        assert by_data["test"].f1 > 0.9
        assert by_data["validation"].false_alarms <= 2


@pytest.mark.skipif(not DEFAULT_TFLITE_PYTHON.exists(), reason="needs .venv-tflite, which `make device` builds")
def test_the_other_runtime_is_measured_where_it_is(stills: FrameBuild) -> None:
    assert all(set(graph.parity) == {"litert", "tflite"} for graph in stills.manifest.graphs)


def test_the_table_tells_parity_thresholds_and_what_the_compiler_mapped(
    stills: FrameBuild, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("converters.frames.build.convert", lambda *_, **__: stills.judge.conversion)
    out = tmp_path / "scene.bundle"
    assert cli.main(["build", str(stills.run.path), "--out", str(out), "--provisional"]) == 0
    assert out.read_bytes() == stills.data, "the same run gives the same bytes"
    said = capsys.readouterr().out
    for words in ("60 normal and 20 defective frames", "PROVISIONAL", "mapped 3 of", "Parity and thresholds are those"):
        assert words in said
    assert cli.main(["backtest", str(out), str(stills.run.path)]) == 0
    assert "defects found" in capsys.readouterr().out


def test_without_the_compiler_no_edgetpu_graph_is_shipped_and_what_the_rules_say_is_kept(
    stills: FrameBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("converters.frames.build.convert", lambda *_, **__: stills.judge.conversion)
    monkeypatch.setattr("converters.frames.edge.find_compiler", lambda: None)
    monkeypatch.setattr(*WITHOUT_TFLITE)
    made = build_frames(stills.run, replace(PROVISIONAL, formats=("float32", "edgetpu")), lambda _: None)
    assert set(made.graphs) == {"float32"}
    assert "edgetpu_compiler is not installed" in made.not_made["edgetpu"]
    kept = made.manifest.provenance["edgetpu"]
    assert (kept["compiled"], kept["check"]["mapped"]) == ("not compiled", 3)
    assert kept["check"]["first_on_cpu"].startswith("3 DEQUANTIZE")
    assert kept["parity_on_cpu"]["litert"]["rank_pooled"] > 0.99


def test_the_check_of_a_file_names_the_first_operator_that_stays(
    stills: FrameBuild, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["edgetpu-check", str(stills.run.path / "build" / "model_integer.tflite")]) == 0
    assert "from operator 3 on the CPU: DEQUANTIZE" in capsys.readouterr().out
    assert cli.main(["edgetpu-check", str(stills.run.path / "recipe.toml")]) == cli.EXIT_REFUSED


def test_a_graph_that_shows_other_places_is_refused_with_figures_and_an_alternative(
    stills: FrameBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = stills.judge.conversion
    assert right.reference_map is not None
    broken = Conversion(
        models=right.models, reference=right.reference, reference_map=right.reference_map[:, ::-1].copy()
    )
    monkeypatch.setattr("converters.frames.build.convert", lambda *_, **__: broken)
    monkeypatch.setattr(*WITHOUT_TFLITE)
    with pytest.raises(Refused, match=r"int8: .*correlation of the maps .*strongest cell.*ship float16 or float32"):
        build_frames(stills.run, PROVISIONAL, lambda _: None)


def test_a_graph_that_tells_other_kinds_is_refused(stills: FrameBuild, monkeypatch: pytest.MonkeyPatch) -> None:
    right = stills.judge.conversion
    broken = replace(right, reference_kinds=right.reference_kinds[..., ::-1].copy())
    monkeypatch.setattr("converters.frames.build.convert", lambda *_, **__: broken)
    monkeypatch.setattr(*WITHOUT_TFLITE)
    with pytest.raises(Refused, match=r"float32: .*kind agrees in \d+\.\d% of strange frames, at least 90%"):
        build_frames(stills.run, PROVISIONAL, lambda _: None)


def test_a_graph_without_the_kinds_that_its_run_names_is_refused(
    stills: FrameBuild, graphs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("converters.frames.build.convert", lambda *_, **__: stills.judge.conversion)
    monkeypatch.setattr(*WITHOUT_TFLITE)
    alone = replace(PROVISIONAL, formats=("float32",))
    run = frame_run(tmp_path / "three", graphs / "stills", classes=("dent", "scratch", "hole"))
    with pytest.raises(Refused, match=r"`kinds` float32 \[1, 8, 8, 3\], got .*8, 8, 2"):
        build_frames(run, alone, lambda _: None)
    run = frame_run(tmp_path / "none", graphs / "stills")
    with pytest.raises(Refused, match="no output `kinds`, got"):
        build_frames(run, alone, lambda _: None)


def test_names_are_counted_of_the_defects_that_are_found(stills: FrameBuild) -> None:
    for by_data in stills.backtests.values():
        test = by_data["test"]
        assert (test.known, by_data["validation"].known) == (test.found, None)
        assert 0 < test.named < test.known
        assert test.figures()["named"] == test.named
    assert "named" not in stills.backtests["int8"]["validation"].figures()


def test_too_few_normal_frames_are_refused_before_anything_is_converted(
    stills: FrameBuild, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("converters.frames.build.convert", lambda *_, **__: pytest.fail("it was converted"))
    assert cli.main(["build", str(stills.run.path)]) == cli.EXIT_REFUSED
    said = capsys.readouterr().err
    assert "40 s of normal validation data do not support 1 false alarm a day" in said
    assert "A run keeps 34 min 8 s of them at most: record as much and ask for 5 or more with --alarms-per-day" in said
    assert "--provisional" in said


def test_a_streaming_detector_is_judged_along_sequences_and_never_gated(stream: FrameBuild) -> None:
    assert set(stream.graphs) == {"float32", "int8"}, stream.refused
    bundle = FrameBundle.read(stream.data)
    assert bundle.manifest.prefilter.mode is Mode.WATCH
    _, scorer, trials = choose_frame_graph(bundle, ScoringSettings())
    assert scorer.streaming
    assert [trial.problem for trial in trials] == ["", ""]
    assert stream.backtests["int8"]["test"].frames == 40 - WARM_UP
    assert stream.backtests["int8"]["test"].found > 0
