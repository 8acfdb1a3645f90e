"""Settings of the scoring part."""

from __future__ import annotations

from dataclasses import dataclass

RUNTIMES = ("auto", "litert", "tflite")
FORMATS = ("auto", "int8", "float16", "float32", "edgetpu")
MOST_THREADS = 8
"""More threads than any supported board has cores only slow small graphs down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringSettings:
    """How the graph is run."""

    runtime: str = "auto"
    """`litert` (ai-edge-litert), `tflite` (tflite-runtime) or `auto`: the first of the two that is installed."""
    graph: str = "auto"
    """Which format of the bundle to run; `auto` takes the fastest here that passes its golden data."""
    threads: int = 1
    """Interpreter threads, 1..8. Two or more slow graphs below 1 ms and collapse on a busy machine."""
    delegate: str = "auto"
    """`auto` and `xnnpack`: the runtime's own XNNPACK kernels; `none`: plain kernels; else the path of a delegate
    library."""

    def __post_init__(self) -> None:
        """Refuse what no runtime understands."""
        if self.runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {self.runtime!r}")
        if self.graph not in FORMATS:
            raise ValueError(f"graph must be one of {', '.join(FORMATS)}, got {self.graph!r}")
        if not 1 <= self.threads <= MOST_THREADS:
            raise ValueError(f"threads must be 1..{MOST_THREADS}, got {self.threads}")
