"""The conversion child: the only part of the converters that imports TensorFlow, in a process that may die.

    python -m converters.tf_child < JOBS

Each line of standard input is the path of a job, a JSON file that names a SavedModel, the steps (`reference`,
`float32`, `float16`, `int8`, `int8_products`), where the arrays are and where results and log go. For each step one
JSON line is written to standard output before it (`started`) and one after (`done`, or `refused` with the reason), and
one after the job (`finished`). What TensorFlow prints goes to the log. When the process dies, the parent knows in which
step.

int8 is selective: only operators built under the name scope `body` are quantized; front and head stay float32. A
score head in int8 is a dead detector: a spike of 20 spreads raises its score 1.1 times instead of 34. `int8_products`
quantizes only the body's matrix products and keeps its gates and sums in float: what a recurrent cell needs, whose
rounding errors add up.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np

from converters.flatbuffer import SIGNATURE, in_body, operators
from converters.float16 import with_float16_weights
from converters.refusal import Refused

PRODUCTS = frozenset({"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL"})
"""Operators with weights: where the bytes and most of the time of a body are."""

GIVEN = ("score", "map", "kinds")
"""Outputs of a graph that others are compared with."""

LONGEST_REASON = 400
"""Characters of a converter's message that are kept: MLIR prints whole graphs."""


def main() -> None:
    """Run jobs until there are no more."""
    replies = _take_stdout()
    for line in sys.stdin:
        _run(json.loads(Path(line.rstrip("\n")).read_text(encoding="utf-8")), replies)
        _say(replies, state="finished")


def _run(job: dict[str, Any], replies: TextIO) -> None:
    """Run the steps of a job."""
    with Path(job["log"]).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    out = Path(job["out"])
    steps: dict[str, Callable[[dict[str, Any]], bytes]] = {
        "float32": _float32,
        "float16": _float16,
        "int8": _int8,
        "int8_products": lambda job: _int8(job, PRODUCTS),
    }
    for step in job["steps"]:
        _say(replies, step=step, state="started")
        try:
            if step == "reference":
                for name, values in _reference(job).items():
                    np.save(out / f"reference_{name}.npy", values)
            else:
                (out / f"model_{step}.tflite").write_bytes(steps[step](job))
        except Exception as error:  # noqa: BLE001 - whatever the converter says becomes the reason of a refusal
            _say(replies, step=step, state="refused", reason=reason_of(error))
        else:
            _say(replies, step=step, state="done")


def _take_stdout() -> TextIO:
    """Keep standard output for the replies; whatever else is printed goes to the log."""
    return os.fdopen(os.dup(1), "w", encoding="utf-8")


def _say(replies: TextIO, **line: str) -> None:
    replies.write(json.dumps(line) + "\n")
    replies.flush()


def reason_of(error: Exception) -> str:
    """What a person can use of a converter's message."""
    text = " ".join(str(error).split()) or type(error).__name__
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", text)))
    if missing:
        return (
            f"no TFLite operator does what TensorFlow's {', '.join(missing)} does: build the score of other operations"
        )
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + " …"


def _converter(job: dict[str, Any]) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(job["saved_model"], signature_keys=[SIGNATURE])


def _float32(job: dict[str, Any]) -> bytes:
    return bytes(_converter(job).convert())


def _float16(job: dict[str, Any]) -> bytes:
    return with_float16_weights(_float32(job))


def _int8(job: dict[str, Any], kinds: frozenset[str] | None = None) -> bytes:
    """Quantize the body's operators (of these kinds only, where given) on ranges seen along the samples.

    The others are kept out by the names of their outputs; kinds that are never quantized by kind as well, since an
    operator with two outputs (TOPK_V2) is not known by their names.
    """
    import tensorflow as tf

    found = operators(_float32(job))
    quantized = [
        operator for operator in found if in_body(operator.outputs[0]) and (kinds is None or operator.name in kinds)
    ]
    if not quantized:
        raise Refused(
            "the detector has no body to quantize: all of its operators are front or head, which stay float32"
        )
    outside = [name for operator in found if operator not in quantized for name in operator.outputs]
    kinds_outside = sorted({operator.name for operator in found} - {operator.name for operator in quantized})
    samples = list(_samples(job))
    converter = _converter(job)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter(samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=lambda: iter(samples),
        debug_options=tf.lite.experimental.QuantizationDebugOptions(
            denylisted_nodes=outside, denylisted_ops=kinds_outside
        ),
    )
    return bytes(debugger.get_nondebug_quantized_model())


def _signature(job: dict[str, Any]) -> Any:
    import tensorflow as tf

    model = tf.saved_model.load(job["saved_model"])
    signature = model.signatures[SIGNATURE]
    signature.keep = model
    return signature


def _along(signature: Any, name: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Run a streaming graph along a sequence from zero states; `name` is that of its input.

    Of a sequence [L, C] or [L, H, W, 3] it gives outputs and states after each row or frame: `score` [L, 1], perhaps
    `map` [L, 1, h, w] and `kinds` [L, 1, h, w, C], and every `state_<name>`.
    """
    import tensorflow as tf

    (shape,) = (spec.shape for each, spec in signature.structured_input_signature[1].items() if each == name)
    carried = [each for each in signature.structured_input_signature[1] if each != name]
    kept = {each: spec for each, spec in signature.structured_outputs.items() if each in {*GIVEN, *carried}}
    start = {each: tf.zeros(spec.shape) for each, spec in kept.items()}

    def step(before: dict[str, Any], row: Any) -> dict[str, Any]:
        result = signature(**{name: row}, **{each: before[each] for each in carried})
        return {each: result[each] for each in kept}

    scan = tf.function(lambda rows: tf.scan(step, rows, initializer=start))
    return lambda sequence: {
        each: values.numpy() for each, values in scan(sequence.reshape(len(sequence), *shape)).items()
    }


def _samples(job: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    """Calibration inputs: windows, frames, or along sequences [s, L, …] every row or frame with its true states."""
    arrays, name = np.load(job["samples"], allow_pickle=False), job["input"]
    if not job["streaming"]:
        yield from ({name: one[np.newaxis]} for one in arrays)
        return
    along = _along(_signature(job), name)
    for sequence in arrays:
        after = along(sequence)
        states = {
            each: np.concatenate([np.zeros_like(v[:1]), v[:-1]])
            for each, v in after.items()
            if each.startswith("state_")
        }
        for number, row in enumerate(sequence):
            shaped = row[np.newaxis] if name == "frame" else row[np.newaxis, np.newaxis]
            yield {name: shaped, **{each: values[number] for each, values in states.items()}}


def _reference(job: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the float model gives: `score` [k] for windows and frames, [k, L] along sequences; the others likewise."""
    signature, cases, name = _signature(job), np.load(job["cases"], allow_pickle=False), job["input"]
    if job["streaming"]:
        along = _along(signature, name)
        given = [{each: values[:, 0] for each, values in along(sequence).items()} for sequence in cases]
    else:
        results = (signature(**{name: one[np.newaxis]}) for one in cases)
        given = [{each: values.numpy()[0] for each, values in result.items()} for result in results]
    return {each: np.array([one[each] for one in given], np.float32) for each in GIVEN if each in given[0]}


if __name__ == "__main__":
    main()
