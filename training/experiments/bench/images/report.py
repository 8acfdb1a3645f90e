"""The tables of folders of images for a person: `results.md`, and `results.html` with plots and nothing outside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_agent.contract.words import counted
from training.experiments.bench import plots
from training.experiments.bench.images.data import ImageSet
from training.experiments.bench.images.outcome import ImageOutcome
from training.experiments.bench.images.plots import strip
from training.experiments.bench.images.tables import Row
from training.experiments.bench.report import Column, Section, number, page, table, with_interval

INTRO = """\
<p>Every detector was fitted by its recipe on the normal images to fit on and converted; its shipped graphs then scored
the test images on the device's scorer, against the threshold that they ship with, which normal images alone have set.
<span class="note">Controls</span> need no model: <code>control_always</code> alarms every image,
<code>control_brightness</code> goes by the mean luma, <code>control_random</code> by chance.</p>"""
"""What the report is of, as HTML."""

Outcomes = Mapping[str, ImageOutcome]
"""By the name of the detector or control."""


def _false_alarms(row: Row) -> str:
    return "" if row["false_alarms"] is None else f"{row['false_alarms']} of {row['normal']}"


COLUMNS: tuple[Column[Row], ...] = (
    Column(title="data", words="the folder", text=lambda row: str(row["data"])),
    Column(title="detector", words="or control", text=lambda row: str(row["detector"])),
    Column(title="format", words="of the shipped graph", text=lambda row: str(row["format"])),
    Column(
        title="image_auroc",
        words="ranking of defective above normal images; in brackets 95 % by bootstrap over images",
        text=with_interval("image_auroc"),
    ),
    Column(
        title="pixel_auroc",
        words="the same of pixels by the map, where every defective image has a mask",
        text=number("pixel_auroc", ".3f"),
    ),
    Column(title="aupro", words="overlap with each defect, up to 30 % false pixels", text=number("aupro", ".3f")),
    Column(title="f1", words="at the threshold of the score, interval as above", text=with_interval("f1")),
    Column(title="false alarms", words="normal test images above that threshold", text=_false_alarms),
    Column(title="device f1", words="as the device decides, by score and map", text=number("device_f1", ".3f")),
    Column(
        title="ms_per_frame",
        words="of the device's scorer here, one thread: median of the fastest quarter of the images",
        text=number("ms_per_frame", ".1f"),
    ),
    Column(title="bytes", words="of the graph", text=number("bytes", ",d")),
    Column(title="parity", words="largest relative error against the float model", text=number("parity", ".1e")),
    Column(
        title="device frames",
        words="share of the test images that the device reads and resizes to the frame scored here, to the pixel",
        text=number("device_frames", ".0%"),
    ),
)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Detectors by the image AUROC of their first graph, the best first; then controls."""
    best: dict[str, float] = {}
    for row in rows:
        best.setdefault(row["detector"], row["image_auroc"] or 0.0)
    return sorted(rows, key=lambda row: (plots.group(row["detector"]), -best[row["detector"]], row["detector"]))


def markdown(data: Sequence[ImageSet], rows: Sequence[Row], seed: int) -> str:
    """A table for each folder."""
    return "\n".join("\n".join(_of_folder(each, _own(each, rows), seed)) + "\n" for each in data)


def _own(data: ImageSet, rows: Sequence[Row]) -> list[Row]:
    return in_order([row for row in rows if row["data"] == data.name])


def _of_folder(data: ImageSet, rows: Sequence[Row], seed: int) -> list[str]:
    folder = data.folder
    defective = sum(image.defective for image in folder.test)
    tested = f"{len(folder.test) - defective} normal and {defective} defective to test on"
    return [
        f"## {data.name}: {counted(len(folder.train), 'normal image')} to fit on, {tested}, seed {seed}",
        "",
        *table(COLUMNS, rows),
        "",
        *(f"- {failure(row)}" for row in rows if row["failed"]),
    ]


def failure(row: Row) -> str:
    """Why a detector has no result, or a format of it none."""
    what = f"{row['detector']} as {row['format']}" if row["format"] else row["detector"]
    return f"{what} failed: {row['reason']}"


def html(data: Sequence[ImageSet], outcomes: Mapping[str, Outcomes], rows: Sequence[Row]) -> str:
    """The report with plots."""
    return page(INTRO, [_section(each, _own(each, rows), outcomes[each.name]) for each in data], failure)


def _section(data: ImageSet, rows: list[Row], outcomes: Outcomes) -> Section:
    named = [row | {"detector": f"{row['detector']} {row['format']}".strip()} for row in rows]
    shown = [
        plots.quality(named, "image_auroc", "image AUROC", "images of each kind"),
        plots.cost(
            named,
            plots.Axis("ms_per_frame", "milliseconds a frame, one thread"),
            plots.Axis("image_auroc", "image AUROC"),
        ),
    ]
    best = next((row["detector"] for row in rows if row["bytes"] is not None), None)
    shown += [strip(best, outcomes[best])] if best else []
    return Section(name=data.name, columns=COLUMNS, rows=rows, plots=[plot for plot in shown if plot is not None])
