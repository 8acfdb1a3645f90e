"""What the windower and the Gaussian prefilter cost on this machine: `python -m benchmarks.prefilter [--json FILE]`.

Every figure is a median within one run, in microseconds; what is compared with each other is measured in turns, so that
a busy machine slows both alike. The limits are those of the design: 15 us a window in blocks of 64 and 60 us for single
rows at 8 channels, and 10 kHz x 3 channels well below 1 % of a core before the network.
"""

from __future__ import annotations

import numpy as np

from benchmarks.figures import ROUNDS, Figure, main, medians
from edge_agent.contract.prefilter import Prefilter
from edge_agent.contract.records import NS, Block, Channel, WindowBatch
from edge_agent.contract.windows import Windower, WindowRule


def readings(rows: int, channels: int) -> np.ndarray:
    """Return plausible readings, float32 [rows, channels]."""
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(rows)[:, np.newaxis] * np.linspace(0.05, 0.5, channels))
    return (waves + 0.1 * rng.standard_normal((rows, channels))).astype(np.float32)


def blocks(rows: int, channels: int, size: int, rate_hz: float) -> list[Block]:
    """Return a stream cut into blocks of `size` rows."""
    values = readings(rows, channels)
    t_ns = (np.arange(rows) * (NS / rate_hz)).astype(np.int64)
    return [Block(values=values[i : i + size], t_ns=t_ns[i : i + size]) for i in range(0, rows, size)]


def rule(channels: int, rate_hz: float, window: int, stride: int = 1) -> WindowRule:
    """Return a rule with every check switched on."""
    return WindowRule(
        channels=tuple(Channel(name=f"c{i}", low=-100.0, high=100.0) for i in range(channels)),
        rate_hz=rate_hz,
        window=window,
        stride=stride,
        hold=5,
        max_gap_s=max(0.5, 5 / rate_hz),
        stuck_samples=(64,) * channels,
    )


def prefilter_figures(window: int) -> list[Figure]:
    """Measure distances at 8 channels, in blocks of 64 windows and one at a time."""
    windower = Windower(rule(8, 1.0, window))
    (batch,) = [o for o in windower.feed(blocks(window + 63, 8, window + 63, 1.0)[0]) if isinstance(o, WindowBatch)]
    learned = np.lib.stride_tricks.sliding_window_view(readings(2_000, 8), window, axis=0).transpose(0, 2, 1)
    prefilter = Prefilter.fit(learned)
    block, single = batch.values, batch.values[:1]
    matrix = np.eye(prefilter.gaussian.whiten.shape[0])
    taken = medians(
        {
            "block": lambda: prefilter.distances(block),
            "single": lambda: prefilter.distances(single),
            "product": lambda: matrix @ matrix,
        }
    )
    return [
        Figure(f"prefilter, T = {window}, block of 64, a window", taken["block"] / len(block), "us", 15.0),
        Figure(f"prefilter, T = {window}, single window", taken["single"], "us", 60.0),
        Figure(
            f"prefilter, T = {window}, single, in 40 x 40 matrix products", taken["single"] / taken["product"], "", None
        ),
    ]


def stream_figures(channels: int, rate_hz: float, size: int, window: int, stride: int) -> list[Figure]:
    """Measure the windower alone, and with the prefilter, on a stream."""
    stream = blocks(size * (ROUNDS + 1), channels, size, rate_hz)
    of = rule(channels, rate_hz, window, stride)
    alone, filtered = Windower(of), Windower(of)
    learned = np.lib.stride_tricks.sliding_window_view(readings(2_000, channels), window, axis=0).transpose(0, 2, 1)
    prefilter = Prefilter.fit(learned)
    left_alone, left_filtered = iter(stream), iter(stream)

    def with_prefilter() -> None:
        for output in filtered.feed(next(left_filtered)):
            if isinstance(output, WindowBatch):
                prefilter.distances(output)

    taken = medians({"windower": lambda: alone.feed(next(left_alone)), "with prefilter": with_prefilter})
    name = f"{rate_hz:g} Hz x {channels}, blocks of {size}, T = {window}, stride {stride}"
    share = 100 * rate_hz / size / 1e6
    return [
        Figure(f"windower, {name}, a block", taken["windower"], "us", None),
        Figure(f"windower, {name}", taken["windower"] * share, "% of a core", 1.0 if rate_hz > 1 else None),
        Figure(f"windower and prefilter, {name}", taken["with prefilter"] * share, "% of a core", None),
    ]


def all_figures() -> list[Figure]:
    """Measure everything of this module."""
    figures = [figure for window in (32, 64) for figure in prefilter_figures(window)]
    figures += stream_figures(8, 1.0, 1, 64, 1)
    figures += stream_figures(3, 10_000.0, 200, 64, 100)
    figures += stream_figures(3, 10_000.0, 500, 256, 100)
    return figures


if __name__ == "__main__":
    main(all_figures, __doc__)
