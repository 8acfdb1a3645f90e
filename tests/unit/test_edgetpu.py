"""What an Edge TPU takes of a graph, integers in, and its compiler: on graphs written operator by operator."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.edgetpu.compiler import compile_model, find_compiler, parse_report
from converters.edgetpu.integer_input import with_integer_input
from converters.edgetpu.mapping import mapping
from converters.refusal import Refused
from edge_agent.contract.frame_manifest import FrameFace
from edge_agent.contract.manifest import GraphFormat
from edge_agent.scoring.runtime import find_runtime
from tests.tiny_graphs import Graph

H, W, FEATURES = 4, 6, 5
OPERATOR, OPTIONS, TYPE = schema.BuiltinOperator, schema.BuiltinOptions, schema.TensorType
ROOT = Path(__file__).parents[2]


def quantized(graph: Graph, tensor: int, scale: float, zero: int) -> int:
    made = schema.QuantizationParametersT()
    made.scale, made.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
    graph._tensors[tensor].quantization = made
    return tensor


def small(
    *,
    centre=(127.0,),
    factor: float = 1 / 128,
    residual: bool = False,
    masked: bool = False,
    evened: bool = False,
) -> tuple[bytes, FrameFace]:
    """CAST, SUB, MUL, QUANTIZE, a 1 x 1 convolution in int8, DEQUANTIZE, SUM; `residual`: and the sum of the front;
    `masked`: the upper half is black; `evened`: multiplied by the mean of the frame."""
    graph = Graph()
    frame = graph.tensor(1, H, W, 3, kind=TYPE.UINT8)
    shape = (1, H, W, 3)
    cast = graph.operator(OPERATOR.CAST, [frame], graph.tensor(*shape), (OPTIONS.CastOptions, schema.CastOptionsT()))
    if masked:
        watched = np.where(np.arange(H)[:, np.newaxis] < H // 2, 0.0, np.ones((H, W))).astype(np.float32)
        which = graph.tensor(1, H, W, 1, data=watched)
        product = OPTIONS.MulOptions, schema.MulOptionsT()
        cast = graph.operator(OPERATOR.MUL, [cast, which], graph.tensor(*shape), product)
    if evened:
        reducer, axes = schema.ReducerOptionsT(), graph.tensor(4, kind=TYPE.INT32, data=np.arange(4, dtype=np.int32))
        reducer.keepDims = True
        mean = graph.operator(OPERATOR.MEAN, [cast, axes], graph.tensor(1, 1, 1, 1), (OPTIONS.ReducerOptions, reducer))
        product = OPTIONS.MulOptions, schema.MulOptionsT()
        cast = graph.operator(OPERATOR.MUL, [cast, mean], graph.tensor(*shape), product)
    middle = graph.tensor(*np.shape(centre), data=np.array(centre, np.float32))
    off = graph.operator(OPERATOR.SUB, [cast, middle], graph.tensor(*shape), (OPTIONS.SubOptions, schema.SubOptionsT()))
    gain = graph.tensor(1, data=np.array([factor], np.float32))
    normal = graph.operator(OPERATOR.MUL, [off, gain], graph.tensor(*shape), (OPTIONS.MulOptions, schema.MulOptionsT()))
    seen = quantized(graph, graph.tensor(*shape, kind=TYPE.INT8), factor, -1)
    graph.operator(OPERATOR.QUANTIZE, [normal], seen)
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (FEATURES, 1, 1, 3)).astype(np.int8)
    kernel = quantized(graph, graph.tensor(*weights.shape, kind=TYPE.INT8, data=weights), 0.01, 0)
    zeros = np.zeros(FEATURES, np.int32)
    bias = quantized(graph, graph.tensor(FEATURES, kind=TYPE.INT32, data=zeros), 0.01 * factor, 0)
    features = quantized(graph, graph.tensor(1, H, W, FEATURES, kind=TYPE.INT8), 0.03, 0)
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    graph.operator(OPERATOR.CONV_2D, [seen, kernel, bias], features, (OPTIONS.Conv2DOptions, options))
    plain = graph.operator(OPERATOR.DEQUANTIZE, [features], graph.tensor(1, H, W, FEATURES))
    score = graph.sum(plain, [1, 2, 3], graph.tensor(1))
    if residual:
        score = graph.add(score, graph.sum(normal, [1, 2, 3], graph.tensor(1)), graph.tensor(1))
    return graph.content([frame], [score]), FrameFace(format=GraphFormat.EDGETPU, frame=frame, score=score)


def frames(count: int = 8):
    return np.random.default_rng(1).integers(0, 256, (count, 1, H, W, 3)).astype(np.uint8)


def scores(model: bytes, face: FrameFace) -> list[float]:
    interpreter, _ = find_runtime("litert").interpreter(model, threads=1, delegate="auto")
    found = []
    for frame in frames():
        interpreter.set_tensor(face.frame, frame)
        interpreter.invoke()
        found.append(float(interpreter.get_tensor(face.score)[0]))
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_integers_in_give_the_scores_of_the_int8_graph(residual, masked):
    model, face = small(residual=residual, masked=masked)
    assert scores(with_integer_input(model), face) == pytest.approx(scores(model, face), abs=1e-5)


def test_what_the_rules_allow_comes_first_and_the_first_that_stays_is_named():
    model, _ = small(residual=True)
    before, after = mapping(model), mapping(with_integer_input(model))
    assert before.figures() | {"macs_share": 0} == before.figures()
    assert before.figures()["first_on_cpu"] == "0 CAST: not among the Edge TPU's operators"
    assert [each.name for each in after.operators[: after.mapped]] == ["QUANTIZE", "CONV_2D"]
    assert (after.mapped, after.macs_share) == (2, 1.0)
    assert after.weights == 3 * FEATURES + 4 * FEATURES
    assert after.first_on_cpu is not None
    assert after.first_on_cpu.index == 2
    assert after.operators[-1].reason == "works on float32"
    assert "from operator 2 on the CPU" in after.sentence()


@pytest.mark.parametrize("kept", [8, 40, 400])
def test_a_file_that_is_cut_short_is_refused(kept):
    with pytest.raises(Refused, match=r"damaged \.tflite"):
        mapping(small()[0][:kept])


def test_a_mask_is_laid_over_the_integers():
    model, face = small(masked=True)
    integers = with_integer_input(model)
    assert [each.name for each in mapping(integers).operators[:3]] == ["QUANTIZE", "MINIMUM", "CONV_2D"]
    assert mapping(integers).mapped == 3
    assert scores(integers, face) != pytest.approx(scores(*small()), rel=0.01)


def test_macs_of_a_convolution_are_its_outputs_times_its_kernel():
    model, _ = small()
    assert [each.macs for each in mapping(model).operators if each.macs] == [H * W * FEATURES * 3]


def test_a_normalisation_that_differs_between_channels_is_refused():
    model, _ = small(centre=(120.0, 110.0, 100.0))
    with pytest.raises(Refused, match="one scale for all channels"):
        with_integer_input(model)


def test_a_normalisation_without_a_pixel_that_stands_for_0_is_refused():
    model, _ = small(centre=(300.0,))
    with pytest.raises(Refused, match="leaves out 0"):
        with_integer_input(model)


def test_light_that_is_evened_out_is_refused_with_what_to_set():
    model, _ = small(evened=True)
    with pytest.raises(Refused, match=r"depends on the frame.*light = 1"):
        with_integer_input(model)


def test_what_is_new_float_or_batched_stays_on_the_cpu():
    model, _ = small()
    root = schema.ModelT.InitFromPackedBuf(with_integer_input(model), 0)
    assert not why(root)
    next(code for code in root.operatorCodes if code.builtinCode == OPERATOR.CONV_2D).version = 6
    assert why(root) == "version 6, its compiler reads up to 5"
    next(code for code in root.operatorCodes if code.builtinCode == OPERATOR.CONV_2D).version = 1
    graph = root.subgraphs[0]
    for index in graph.operators[1].outputs:
        graph.tensors[index].shape = [2, H, W, FEATURES]
    assert "more than 3 dimensions above 1" in why(root)


def why(root) -> str:
    from converters.flatbuffer import packed

    return mapping(packed(root)).operators[1].reason


def written(folder: Path, model: bytes) -> Path:
    (folder / "model.tflite").write_bytes(model)
    return folder / "model.tflite"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "edgetpu_compiler"
    script.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.fake_edgetpu_compiler "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return script


def test_a_compiled_graph_is_called_by_the_names_it_keeps(compiler, tmp_path):
    model, face = small()
    found = find_compiler()
    assert found == compiler
    compiled = compile_model(found, written(tmp_path, with_integer_input(model)), face)
    assert (compiled.report.mapped, compiled.report.operators) == (2, 4)
    assert compiled.face.score != face.score
    graph = schema.ModelT.InitFromPackedBuf(compiled.model, 0).subgraphs[0]
    assert (list(graph.inputs), list(graph.outputs)) == ([compiled.face.frame], [compiled.face.score])
    assert "16.0.384591198 mapped 2 of 4 operators" in compiled.report.sentence()
    assert "on-chip 3.21MiB, off-chip 0.00B" in compiled.report.sentence()


def test_a_graph_of_which_nothing_is_mapped_is_refused(compiler, tmp_path):
    model, face = small()
    with pytest.raises(Refused, match=r"nothing of the graph would run on the Edge TPU.*CAST"):
        compile_model(compiler, written(tmp_path, model), face)


def test_a_compiler_that_fails_is_a_refusal_with_its_last_words(tmp_path):
    broken = tmp_path / "edgetpu_compiler"
    broken.write_text("#!/bin/sh\necho 'Internal compiler error. Aborting!'\nexit 1\n")
    broken.chmod(0o755)
    model, face = small()
    with pytest.raises(Refused, match=r"ended with code 1.*Internal compiler error"):
        compile_model(broken, written(tmp_path, model), face)


def test_the_compilers_report_is_read_row_by_row():
    report = parse_report(
        "Edge TPU Compiler version 16.0.384591198\n\nOperator                       Count      Status\n\n"
        "DEQUANTIZE                     2          Operation is working on an unsupported data type\n"
        "CONV_2D                        32         Mapped to Edge TPU\n"
    )
    assert report.mapped == 32
    assert report.rows[0] == ("DEQUANTIZE", 2, "Operation is working on an unsupported data type")
    assert report.sentence().endswith("2 DEQUANTIZE (Operation is working on an unsupported data type)")
