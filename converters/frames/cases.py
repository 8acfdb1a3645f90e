"""Frames that a graph is quantized with and judged on.

`samples` are training frames and set the ranges of int8. `FrameCases` are validation frames and test frames, and are
what parity is measured on: single frames, or for a streaming graph sequences of neighbours that it steps along from a
fresh state. A fit that saw the validation frames finds them all nearly alike: there the normal ones are those of the
test, and only where these are few also validation frames, each moved a little, so that no fit saw them.

An int8 graph may be right on normal frames and blind to what is not. Where no test frame is defective, normal frames
with a patch from elsewhere take the place of defects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from converters.refusal import Refused
from edge_agent.contract.frames import Pixels
from training.image_artifacts import FrameRun, spread

N = TypeVar("N", bound=np.generic)

CASES = 128
"""Validation frames that parity is measured on, evenly chosen; beside at most as many test frames. The standard error
of a rank correlation of .99 is then .002."""

PATCHED = 32
"""Normal frames with a patch, where no defective ones are to be had."""

PATCH_SHARES = (0.15, 0.3)
"""Sides of a patch as shares of the frame's: from a small part that is wrong to a large one."""

ENOUGH_NORMAL = 20
"""Normal test frames that are enough to judge on: as many as a rank correlation within normals is asked of."""

MOVED_SHARE = 0.01
"""How far a frame that the fit saw is moved at most, in its shorter sides: 2 pixels at 224 x 224."""

STEPS_AFTER_WARM_UP = 8
"""Frames of a sequence whose scores count."""

SEQUENCES = 16
"""Sequences at most of each kind: each is many frames."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameCases:
    """What parity is measured on."""

    inputs: Pixels
    """uint8 [k, H, W, 3] or, of a streaming graph, [k, L, H, W, 3]: first normal, then strange."""
    strange: NDArray[np.bool_]
    """Bool [k], or [k, L] along sequences: which frames are defective or patched."""
    labelled: bool
    """The strange ones are defective test frames; False: patched ones."""
    warm_up: int
    """Leading frames of a sequence that do not count."""
    moved: int = 0
    """Normal ones that are validation frames moved a little."""

    @property
    def counted(self) -> NDArray[np.bool_]:
        """`strange` [k, steps that count]."""
        return self.strange.reshape(len(self.inputs), -1)[:, self.warm_up :]


def samples(run: FrameRun) -> Pixels:
    """Frames or sequences of the training part that set the ranges of int8.

    Raises:
        Refused: there are none.
    """
    frames = run.calibration
    found = _sequences(run, frames) if run.input.streaming else frames
    if not len(found):
        raise Refused(f"the run has {len(frames)} training frames for the ranges of int8, too few: fit on more images")
    return found


def cases(run: FrameRun) -> FrameCases:
    """Validation and test frames, the normal ones first.

    Raises:
        Refused: there is no validation frame, or no unbroken sequence.
    """
    if not len(run.validation):
        raise Refused("the run has no validation frames: fit on more images, or with a larger validation_share")
    return _along_time(run) if run.input.streaming else _stills(run)


def _stills(run: FrameRun) -> FrameCases:
    labels, validation = run.test_labels, run.validation[spread(len(run.validation), CASES)]
    tested, number = run.test[~labels], 0
    if run.optimism is not None:
        validation = moved(validation) if len(tested) < ENOUGH_NORMAL else validation[:0]
        number = len(validation)
    normal = np.concatenate([validation, tested])
    strange = run.test[labels] if labels.any() else patched(normal[spread(len(normal), PATCHED)])
    return FrameCases(
        inputs=np.concatenate([normal, strange]),
        strange=np.arange(len(normal) + len(strange)) >= len(normal),
        labelled=bool(labels.any()),
        warm_up=0,
        moved=number,
    )


def _along_time(run: FrameRun) -> FrameCases:
    normal, tested = _sequences(run, run.validation), _sequences(run, run.test)
    labels = _sequences(run, run.test_labels)
    if not len(normal):
        raise Refused(
            f"{len(run.validation)} validation frames give no sequence of {_rows(run)}: record more normal frames"
        )
    labelled = bool(labels[:, run.input.warm_up :].any())
    if not labelled:
        tested, labels = normal.copy(), np.zeros(normal.shape[:2], bool)
        half = run.input.warm_up + STEPS_AFTER_WARM_UP // 2
        for sequence in tested:
            sequence[half:] = patched(sequence[half:])
        labels[:, half:] = True
    order = np.argsort(labels[:, run.input.warm_up :].any(axis=1), kind="stable")
    return FrameCases(
        inputs=np.concatenate([normal, tested[order]]),
        strange=np.concatenate([np.zeros(normal.shape[:2], bool), labels[order]]),
        labelled=labelled,
        warm_up=run.input.warm_up,
    )


def _rows(run: FrameRun) -> int:
    """Frames of a sequence."""
    return run.input.warm_up + STEPS_AFTER_WARM_UP


def _sequences(run: FrameRun, array: NDArray[N]) -> NDArray[N]:
    """Cut neighbours [n, …] into sequences [s, L, …] that overlap by half, at most SEQUENCES, evenly chosen."""
    rows = _rows(run)
    starts = range(0, len(array) - rows + 1, max(rows // 2, 1))
    chosen = [starts[at] for at in spread(len(starts), SEQUENCES)] if starts else []
    return np.array([array[start : start + rows] for start in chosen], array.dtype).reshape(
        len(chosen), rows, *array.shape[1:]
    )


def moved(frames: Pixels) -> Pixels:
    """Frames [n, H, W, 3], each moved by some pixels; where nothing is left to show, the rim is repeated."""
    rng, (height, width) = np.random.default_rng(0), frames.shape[1:3]
    most = max(round(MOVED_SHARE * min(height, width)), 1)
    steps = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1) if down or right]
    result = np.empty_like(frames)
    for frame, into, at in zip(frames, result, rng.integers(0, len(steps), len(frames)), strict=True):
        rows, columns = (
            np.clip(np.arange(size) + step, 0, size - 1) for size, step in zip((height, width), steps[at], strict=True)
        )
        into[...] = frame[rows][:, columns]
    return result


def patched(frames: Pixels) -> Pixels:
    """Frames [n, H, W, 3], each with a square that shows another part of it upside down, in inverted colours."""
    rng, result = np.random.default_rng(0), frames.copy()
    height, width = frames.shape[1:3]
    for number, frame in enumerate(result):
        side = max(round(min(height, width) * PATCH_SHARES[number % len(PATCH_SHARES)]), 1)
        (top, to_top), (left, to_left) = (rng.integers(0, size - side + 1, 2) for size in (height, width))
        frame[to_top : to_top + side, to_left : to_left + side] = (
            255 - frames[number, top : top + side, left : left + side][::-1]
        )
    return result
