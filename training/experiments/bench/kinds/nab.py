"""NAB, the Numenta Anomaly Benchmark: univariate series of temperatures, load and traffic, to be judged as a stream.

Layout: `data/**.csv` with the columns timestamp, value, and `labels/combined_windows.json` with the labelled windows
of each file. Protocol: the first 15 % of a file, at most 750 rows, are probation, which is fitted on here; the rest
counts. Rows are taken as evenly spaced, at the usual interval of the file: the benchmark's detectors see rows, and some
files repeat an hour or leave out days. Source: A. Lavin and S. Ahmad, Evaluating real-time anomaly detection
algorithms - the Numenta Anomaly Benchmark, ICMLA 2015.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from edge_agent.contract.peaks import usual_step_ns
from edge_agent.contract.records import NS
from training.data import DataError, parse_times, read_recording
from training.evaluation.nab import LONGEST_PROBATION, PROBATION_SHARE
from training.experiments.bench.cases import Case, Trial
from training.experiments.bench.kinds.files import in_order, part_of
from training.recipe import ChannelSettings, DataSettings, TimeUnit
from training.splits import Rows

LABELS = Path("labels") / "combined_windows.json"
SETTINGS = DataSettings(delimiter=",", time_column="timestamp")
CHANNELS = (ChannelSettings(name="value"),)


class Nab:
    """The benchmark's folder, or one with fewer series in the same layout."""

    about = f"a folder with NAB's layout: data/**.csv (timestamp, value) and {LABELS}"

    def cases(self, path: Path) -> tuple[Case, ...]:
        """Each series is a case of its own."""
        if not (path / LABELS).is_file():
            raise DataError(f"{path / LABELS} is not there: expected {self.about}")
        windows = json.loads((path / LABELS).read_text(encoding="utf-8"))
        files = in_order((path / "data").rglob("*.csv"))
        if not files:
            raise DataError(f"{path / 'data'} has no *.csv: expected {self.about}")
        return tuple(_case(file, file.relative_to(path / "data").as_posix(), windows) for file in files)


def _case(file: Path, name: str, windows: dict[str, list[list[str]]]) -> Case:
    if name not in windows:
        raise DataError(f"{file}: {LABELS} has no entry {name!r}; one without anomalies has an empty list")
    recording = read_recording(file, SETTINGS, CHANNELS, rate_hz=1.0)
    probation = int(min(PROBATION_SHARE * len(recording), LONGEST_PROBATION))
    if not probation:
        raise DataError(f"{file} has {len(recording)} rows: none is left for probation")
    labels = np.zeros(len(recording), bool)
    for start, end in windows[name]:
        edges, _ = parse_times(pd.Series([start, end]), TimeUnit.AUTO)
        labels |= (recording.t_ns >= edges[0]) & (recording.t_ns <= edges[1])
    step_ns = round(usual_step_ns(recording.t_ns))
    t_ns = np.arange(len(recording), dtype=np.int64) * step_ns
    rows = Rows(values=recording.values, t_ns=t_ns, labels=labels)
    return Case(
        name=name.removesuffix(".csv"),
        channels=("value",),
        rate_hz=NS / step_ns,
        train=part_of(rows, slice(probation)),
        trials=(Trial(name=name.removesuffix(".csv"), rows=rows, tested=np.arange(len(labels)) >= probation),),
    )
