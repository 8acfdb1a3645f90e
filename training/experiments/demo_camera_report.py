"""The report of a camera's demonstration: which parts were told from the others, and what the alerts showed."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from edge_agent.contract.resize import resize
from edge_agent.contract.words import counted
from edge_agent.vision.pictures import encode_jpeg
from training.evaluation import plots
from training.experiments.demo_page import page, table
from training.experiments.demo_parts import Part, Watched, part_number
from training.experiments.demo_subscriber import Payload
from training.images.folders import decoded

SIDE_PX = 480
"""Longest side of a picture in the report."""
MAX_PICTURE_BYTES = 60_000
"""Largest JPEG in it: of some thirty, a report of 2 MB."""

_BODY = """\
<p>{title} {verdict}</p>
{plot}
<p>Bars: how strange each part is by the score of its whole picture, as it came through the broker. A part without a bar
came too soon after the one before: scores are published once a second at most. A small defect may alarm by the map of
where the picture is strange, and the score stay below its threshold.</p>
{sections}
<h2>All that came through the broker</h2>
{alerts}
<p>How the model was trained, and how good it is: <a href="{run}/report.html">the training report</a>.</p>"""


def write_report(path: Path, watched: Watched, overlays: Mapping[int, Path], title: str, run: Path) -> Path:
    """Write one self-contained page, and its timeline beside it as `watched.svg`; return the page.

    Args:
        path: of the page.
        watched: what was watched.
        overlays: pictures with what was strange drawn over them, by the number of their part.
        title: what the parts are, a sentence.
        run: the run folder, beside the page.
    """
    picture = _timeline(watched)
    path.with_name("watched.svg").write_text(picture, encoding="utf-8")
    rows = [_row(alert, watched) for alert in watched.alerts]
    body = _BODY.format(
        title=html.escape(title),
        verdict=html.escape(verdict(watched)),
        plot=picture,
        sections="\n".join(_sections(watched, overlays)),
        alerts=table(("part", "alert", "severity", "level", "what"), rows),
        run=run.name,
    )
    path.write_text(page(body), encoding="utf-8")
    return path


def verdict(watched: Watched) -> str:
    """Say how many defective parts raised an alert, and how many good ones."""
    found, missed = (len(watched.judged(defective=True, alarmed=alarmed)) for alarmed in (True, False))
    false, quiet = (len(watched.judged(defective=False, alarmed=alarmed)) for alarmed in (True, False))
    return (
        f"{found} of {counted(found + missed, 'defective part')} raised an alert, and {false} of "
        f"{counted(false + quiet, 'good one')}."
    )


def _row(alert: Payload, watched: Watched) -> tuple[str, list[object]]:
    part: object = part_number(alert["window"]["end"], watched.interval_s) if alert["window"] else "-"
    level = "" if alert["level"] is None else f"{alert['level']:.2f}"
    return alert["severity"], [part, alert["event_type"], alert["severity"], level, alert["text"]]


def _sections(watched: Watched, overlays: Mapping[int, Path]) -> Iterable[str]:
    """Pictures: what alarmed, what should not have, what should have, and a good part to compare with."""
    for title, words, defective, alarmed in (
        ("Defective parts that raised an alert", "", True, True),
        ("Good parts that raised an alert", "False alarms.", False, True),
        ("Defective parts that raised none", "Missed.", True, False),
    ):
        if parts := watched.judged(defective=defective, alarmed=alarmed):
            yield _section(title, words, parts, watched, overlays)
    yield _section(
        "A good part", "To compare with.", watched.judged(defective=False, alarmed=False)[:1], watched, overlays
    )


def _section(title: str, words: str, parts: Iterable[Part], watched: Watched, overlays: Mapping[int, Path]) -> str:
    alerts = watched.first_alerts()
    figures = "\n".join(_figure(part, alerts.get(part.number), overlays.get(part.number)) for part in parts)
    return f'<h2>{title}</h2>\n<p>{words}</p>\n<div class="pictures">\n{figures}\n</div>'


def _figure(part: Part, alert: Payload | None, overlay: Path | None) -> str:
    """A part as it came and, if it alarmed, with heat and boxes over it."""
    shown = {"the part": part.picture} | ({"what is strange in it": overlay} if overlay else {})
    images = " ".join(f'<img src="{_small(path)}" alt="{words}">' for words, path in shown.items())
    said = html.escape(f"part {part.number}, {part.name}" + (f": {alert['text']}" if alert else ""))
    return f"<figure>{images}<figcaption>{said}</figcaption></figure>"


def _small(path: Path) -> str:
    """A picture as a data address, its longest side `SIDE_PX` at most."""
    pixels = decoded(path)
    scale = min(SIDE_PX / max(pixels.shape[:2]), 1.0)
    height, width = (max(round(side * scale), 1) for side in pixels.shape[:2])
    jpeg = encode_jpeg(resize(pixels, height, width), MAX_PICTURE_BYTES)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


@mpl.rc_context(plots.STYLE)
def _timeline(watched: Watched) -> str:
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    axes = figure.subplots()
    told = watched.first_alerts()
    for part in watched.parts:
        if part.defective:
            axes.axvspan(part.number - 0.5, part.number + 0.5, color=plots.FAULT, linewidth=0)
    levels = {part_number(score["time"], watched.interval_s): score["level"] or 0.0 for score in watched.scores}
    colours = [plots.ALARM if number in told else plots.LINE for number in levels]
    axes.bar(list(levels), list(levels.values()), width=0.7, color=colours)
    axes.axhline(0.5, color="black", linewidth=1, linestyle="--", label="threshold of the score")
    axes.set(xlabel="part", ylabel="level of the score", xlim=(-0.5, len(watched.parts) - 0.5), ylim=(0, 1.02))
    axes.legend(
        handles=[
            Patch(color=plots.FAULT, label="defective"),
            Patch(color=plots.ALARM, label="raised an alert"),
            Patch(color=plots.LINE, label="raised none"),
            *axes.lines,
        ],
        ncols=4,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
    )
    return plots.svg(figure)
