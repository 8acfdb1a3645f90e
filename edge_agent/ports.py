"""The Protocols that parts implement; the agent knows parts by these alone."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edge_agent.contract.frames import Frame, FrameScore, Pixels
from edge_agent.contract.records import Block, Channel, Floats, Score


class Clock(Protocol):
    """Time comes in through here, so that tests neither sleep nor flake."""

    def now_ns(self) -> int:
        """UTC in nanoseconds since the epoch: payload times only (it may jump)."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never run backwards: for supervision, and as reading time of sources without their own."""


@runtime_checkable
class Source(Protocol):
    """Readings in. One thread opens, reads and closes it; `status()` may be asked from another."""

    channels: tuple[Channel, ...]
    """Names, order and units of the columns that `read` gives."""
    own_time: bool
    """The readings carry their own time; otherwise reading time is when they arrived, on the monotonic clock."""
    lossless: bool
    """A slow reader makes it wait (file, stdin); otherwise what is not read in time is lost (serial port)."""

    def open(self) -> None:
        """Open or reopen the device.

        Raises:
            SourceUnavailable: it is not there, busy or not permitted; the message says which and what to do.
        """

    def read(self, timeout_s: float) -> Block | None:
        """Return what has arrived, waiting at most `timeout_s`; None when nothing complete came.

        Never returns an empty block. Malformed input is dropped and counted, and marks a gap.

        Raises:
            SourceUnavailable: the device went away: close, wait, open again.
            EndOfData: a finite source is finished.
        """

    def close(self) -> None:
        """Release the device; may be called twice and after an error."""

    def status(self) -> dict[str, int | float | str]:
        """Counters for `health`: `readings`, `bytes`, `frames_dropped`, `bytes_dropped`, and `last_error` if any."""


@runtime_checkable
class FrameSource(Protocol):
    """Frames in. One thread opens, reads and closes it; `status()` may be asked from another."""

    own_time: bool
    """The frames carry their own time; otherwise reading time is when they arrived, on the monotonic clock."""
    lossless: bool
    """A slow reader makes it wait (file, folder, scene); otherwise what is not read in time is lost (camera)."""

    def open(self) -> None:
        """Open or reopen the device.

        Raises:
            SourceUnavailable: it is not there, busy or not permitted; the message says which and what to do.
        """

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, waiting at most `timeout_s`; None when none came, or one that cannot be used.

        A driver or decoder that cannot be interrupted may hold it longer, but for 8 s at most. A frame that cannot be
        used is dropped and counted. A device that gives no frame for longer than expected counts as gone.

        Raises:
            SourceUnavailable: the device went away: close, wait, open again.
            EndOfData: a finite source is finished.
        """

    def close(self) -> None:
        """Release the device; may be called twice and after an error."""

    def status(self) -> dict[str, int | float | str]:
        """Counters for `health`: `frames`, `frames_dropped`, `size_changes`, and `last_error` if any."""


class Scorer(Protocol):
    """One score graph, loaded."""

    streaming: bool
    """Takes one row at a time and carries state; a skipped row would corrupt it."""

    def score(self, window: Floats) -> Score:
        """Score float32 [T, C] (a streaming graph: [1, C]).

        Raises:
            ScoringError: the runtime failed or the score is not finite.
        """

    def reset(self) -> None:
        """Forget the carried state: called at every gap."""

    def describe(self) -> dict[str, str | int]:
        """What runs: `runtime`, `format`, `delegate`, `threads`, `kernels`."""

    def infer_p95_ms(self) -> float | None:
        """95th percentile of the latest calls, milliseconds; None before the first."""


class FrameScorer(Protocol):
    """One score graph on frames, loaded."""

    streaming: bool
    """Carries state from frame to frame."""
    frame_shape: tuple[int, int]
    """Height and width of the frames it takes."""

    def score(self, pixels: Pixels) -> FrameScore:
        """Score uint8 [H, W, 3] RGB of the size that it takes.

        Raises:
            ScoringError: the runtime failed or the score is not finite.
        """

    def reset(self) -> None:
        """Forget the carried state: called at every break."""

    def describe(self) -> dict[str, str | int]:
        """What runs: `runtime`, `format`, `delegate`, `threads`, `kernels`."""

    def infer_p95_ms(self) -> float | None:
        """95th percentile of the latest calls, milliseconds; None before the first."""
