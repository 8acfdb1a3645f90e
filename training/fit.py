"""From a recipe to a run folder.

    recordings -> splits -> cleaning -> normalisation -> windows -> detector -> score graph
                                                           └──────> prefilter
    all of it -> run folder, complete only when run.json is there

The same recipe, data and versions give the same weights: every source of chance is seeded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.prefilter import Prefilter
from edge_agent.contract.rate import TOLERANCE, measured_rate_hz
from edge_agent.contract.records import Floats
from edge_agent.contract.stuck import stuck_limits
from training.artifacts import Run, RunInfo, write_info, write_json
from training.cleaning import without_outliers, without_spikes
from training.data import DataError, Recording, as_channels, find_channels, read_recording
from training.detectors import detector_class, make_detector
from training.detectors.base import Curves, Detector, NormalData
from training.graph import Front
from training.recipe import ChannelSettings, Recipe
from training.run_folder import check_place, finish, fresh_folder, seed_everything, tool_versions
from training.splits import (
    Rows,
    Splits,
    Windows,
    check_enough,
    faulty_windows_of,
    joined,
    sequences_of,
    split,
    windows_of,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Paths of everything a fit reads."""

    recipe_text: str
    files: tuple[Path, ...]
    test_files: tuple[Path, ...]
    labels_file: Path | None


def locate(recipe: Recipe, text: str, folder: Path, data: Iterable[Path] = ()) -> Sources:
    """Resolve the recipe's file names against its folder; `data` from the command line replaces them.

    Raises:
        DataError: neither names a file.
    """
    files = tuple(data) or tuple(folder / name for name in recipe.data.files)
    if not files:
        raise DataError("no data: name files in the recipe under [data] files, or give --data FILE")
    labels = folder / recipe.data.labels_file if recipe.data.labels_file else None
    return Sources(
        recipe_text=text,
        files=files,
        test_files=tuple(folder / name for name in recipe.data.test_files),
        labels_file=labels,
    )


def fit(recipe: Recipe, sources: Sources, out: Path, *, progress: bool = True) -> Run:
    """Fit the recipe's detector and write the run folder `out`, replacing a run that is there.

    Raises:
        RecipeError: a setting does not go with the detector.
        DataError: the data cannot be used; the message says where and what to do.
    """
    check_place(out)
    seed_everything(recipe.training.seed)
    cls = detector_class(recipe)
    channels = recipe.channels or find_channels(sources.files[0], recipe.data)
    recordings, tests = (
        read_all(paths, recipe, channels, sources.labels_file) for paths in (sources.files, sources.test_files)
    )
    parts = split(recordings, tests, recipe, supervised=cls.needs_labels)
    check_rate(parts.training, recipe)
    spec = input_spec(recipe, channels, parts.training, streaming=cls.streaming)
    training, spikes = without_spikes(parts.training, recipe.cleaning.spikes, recipe.windows.hold)
    found = windows_of(training, spec.rule())
    check_enough(found, "training")
    validation = windows_of(parts.validation, spec.rule())
    check_enough(validation, "validation")
    faulty = faulty_windows(parts, spec, recipe) if cls.needs_labels else None
    front = Front.fit(plausible(joined(training), spec), recipe.scaling.method, recipe.scaling.body_range)
    detector = make_detector(recipe, front)
    train = without_outliers(found, front, recipe.cleaning.outliers)
    cleaned = {"outliers": len(found.values) - len(train.values), "spikes": spikes.tolist()}
    if cleaned["outliers"] or spikes.any():
        logger.info("left out of training: %d windows as outliers, %s spikes a channel", *cleaned.values())
    check_enough(train, "training, without outliers,")
    prefilter = _prefilter(train, spec)
    curves = detector.fit(_normal_data(train, faulty, spec), progress=progress)
    unfinished = fresh_folder(out)
    detector.score_graph().save(unfinished / "graph")
    _write_arrays(unfinished, train, parts)
    prefilter.to_npz(unfinished / "prefilter.npz")
    (unfinished / "recipe.toml").write_text(sources.recipe_text, encoding="utf-8")
    figures = _figures(train, validation, faulty, parts, curves) | {"cleaning": cleaned}
    write_json(unfinished / "metrics.json", {"fit": figures})
    write_json(unfinished / "provenance.json", _provenance([*recordings, *tests], recipe))
    write_info(unfinished, _info(recipe, detector, spec))
    finish(unfinished, out)
    return Run.read(out)


def read_all(
    paths: Iterable[Path], recipe: Recipe, channels: tuple[ChannelSettings, ...], labels_file: Path | None
) -> list[Recording]:
    """Read recordings and log what was wrong with them."""
    recordings = [read_recording(path, recipe.data, channels, recipe.windows.rate_hz, labels_file) for path in paths]
    for recording in recordings:
        for remark in recording.remarks:
            logger.warning("%s: %s", recording.name, remark)
    return recordings


def check_rate(parts: tuple[Rows, ...], recipe: Recipe) -> None:
    """Refuse data of another rate than the recipe's; the device would refuse its sensor for the same reason.

    Raises:
        DataError: with both rates.
    """
    asked = recipe.windows.rate_hz
    for part in parts:
        if len(part) < recipe.windows.rows:
            continue  # it gives no window, and says little of the rate
        measured = measured_rate_hz(part.t_ns, recipe.windows.gap_s)
        if abs(measured / asked - 1) > TOLERANCE:
            raise DataError(
                f"the data have {measured:.4g} readings a second, the recipe says {asked:g}: "
                f"set windows.rate_hz = {measured:.4g}"
            )


def input_spec(
    recipe: Recipe, channels: tuple[ChannelSettings, ...], training: tuple[Rows, ...], *, streaming: bool
) -> InputSpec:
    """What the detector expects of its stream; limits of stuck channels come from the training rows."""
    settings = recipe.windows
    return InputSpec(
        channels=as_channels(channels),
        rate_hz=settings.rate_hz,
        hold=settings.hold,
        max_gap_s=settings.gap_s,
        stuck_samples=stuck_limits(joined(training).values, settings.rows),
        window=1 if streaming else settings.rows,
        stride=1 if streaming else settings.stride,
        streaming=streaming,
        warm_up=settings.warm_up if streaming else 0,
    )


def plausible(rows: Rows, spec: InputSpec) -> Floats:
    """The readings [n, C], NaN where out of a channel's range: never scored, so they must not set its spread."""
    low = np.array([-np.inf if channel.low is None else channel.low for channel in spec.channels])
    high = np.array([np.inf if channel.high is None else channel.high for channel in spec.channels])
    return np.where((rows.values >= low) & (rows.values <= high), rows.values, np.float32(np.nan))


def _prefilter(train: Windows, spec: InputSpec) -> Prefilter:
    try:
        return Prefilter.fit(train.values, names=tuple(channel.name for channel in spec.channels))
    except ValueError as error:
        raise DataError(f"training: {error}") from error


def faulty_windows(parts: Splits, spec: InputSpec, recipe: Recipe) -> Floats:
    """Windows float32 [m, T, C] of the training part that end in labelled faults.

    Raises:
        DataError: there is none; the message says where faults are and what to do.
    """
    faulty = faulty_windows_of(parts.labelled, spec.rule())
    if len(faulty):
        return faulty
    learned, tested = (
        sum(int(np.count_nonzero(rows.labels)) for rows in part if rows.labels is not None)
        for part in (parts.labelled, parts.test)
    )
    if not parts.labelled:
        advice = "name the labels with label_column or labels_file under [data]"
    elif learned:
        advice = (
            f"its {learned} labelled rows gave no complete window; label longer faults, or set shorter windows.rows"
        )
    else:
        advice = (
            f"{tested} labelled rows are in the test part; give recordings of faults whole, with split.test = 0 and "
            "others as data.test_files, or set a smaller split.test or split.validation"
        )
    raise DataError(
        f"{recipe.detector['type']} learns from labelled faults; the training part has none: {advice}; "
        "or take a detector that learns from normal readings alone, for instance gaussian"
    )


def _normal_data(train: Windows, faulty: Floats | None, spec: InputSpec) -> NormalData:
    sequences = sequences_of(train) if spec.streaming else ()
    return NormalData(windows=train.values, sequences=sequences, faulty=faulty)


def _write_arrays(folder: Path, train: Windows, parts: Splits) -> None:
    validation = joined(parts.validation)
    np.savez(
        folder / "normal.npz",
        train_windows=train.values,
        train_t_ns=train.t_ns,
        validation_values=validation.values,
        validation_t_ns=validation.t_ns,
    )
    labelled = tuple(rows for rows in parts.test if rows.labels is not None)
    if labelled:
        test = joined(labelled)
        np.savez(folder / "faulty.npz", values=test.values, t_ns=test.t_ns, labels=np.asarray(test.labels, np.bool_))


def _figures(
    train: Windows, validation: Windows, faulty: Floats | None, parts: Splits, curves: Curves
) -> dict[str, object]:
    windows = {"training": len(train.values), "validation": len(validation.values)}
    return {
        "rows": {name: sum(map(len, getattr(parts, name))) for name in ("training", "validation", "test")},
        "windows": windows if faulty is None else windows | {"faulty": len(faulty)},
        "unknown": {"training": list(train.unknown), "validation": list(validation.unknown)},
        "curves": curves,
    }


def _provenance(recordings: list[Recording], recipe: Recipe) -> dict[str, object]:
    return {
        "data": [
            {
                "file": recording.name,
                "sha256": recording.sha256,
                "rows": len(recording),
                "remarks": list(recording.remarks),
            }
            for recording in recordings
        ],
        "seed": recipe.training.seed,
        "versions": tool_versions("scikit-learn"),
    }


def _info(recipe: Recipe, detector: Detector[object], spec: InputSpec) -> RunInfo:
    return RunInfo(
        name=recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        detector=recipe.detector["type"],
        has_body=detector.has_body,
        body_range=recipe.scaling.body_range,
        centre=tuple(detector.front.centre.tolist()),
        spread=tuple(detector.front.spread.tolist()),
        input=spec,
        decision=recipe.decision.spec(),
        k=recipe.decision.k,
        prefilter_mode=recipe.prefilter.mode,
        max_skip_s=recipe.prefilter.max_skip_s,
    )
