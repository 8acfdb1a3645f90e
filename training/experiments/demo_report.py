"""The report of the demonstration: what was watched, and what came through the broker."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge_agent.sources.times import to_ns
from training.experiments.demo_page import page, table
from training.experiments.demo_subscriber import Payload

if TYPE_CHECKING:
    from training.experiments.demo import Plan

_BODY = """\
<p>{title}</p>
{plot}
<p>Red: alerts, from opening to closing. Grey: where something is known to be wrong.
Times are those of the readings.</p>
<h2>Alerts that came through the broker</h2>
{alerts}
<p>How the model was trained, and how good it is: <a href="{run}/report.html">the training report</a>.</p>"""


def write_report(path: Path, plan: Plan, alerts: list[Payload], run: Path) -> Path:
    """Write one self-contained page, and its picture beside it as `watched.svg`; return the page."""
    picture = _plot(plan, alerts)
    path.with_name("watched.svg").write_text(picture, encoding="utf-8")
    told = table(("time", "alert", "severity", "level", "what", "channels"), map(_row, alerts))
    body = _BODY.format(title=html.escape(plan.title), plot=picture, alerts=told, run=run.name)
    path.write_text(page(body), encoding="utf-8")
    return path


def _row(alert: Payload) -> tuple[str, list[object]]:
    top = ", ".join(f"{name} {share:.0%}" for name, share in alert["top"] or ())
    level = "" if alert["level"] is None else f"{alert['level']:.2f}"
    when = alert["window"]["end"] if alert["window"] else alert["time"]
    return alert["severity"], [when, alert["event_type"], alert["severity"], level, alert["text"], top]


def _plot(plan: Plan, alerts: list[Payload]) -> str:
    mpl.use("svg")
    seconds = (plan.watched.t_ns - plan.watched.t_ns[0]) / 1e9
    figure = Figure(figsize=(11, 1.4 * len(plan.channels) + 0.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(plan.channels), 1, sharex=True))
    spans = alert_spans(alerts, int(plan.watched.t_ns[0]), float(seconds[-1]))
    for axis, channel, values in zip(axes, plan.channels, plan.watched.values.T, strict=True):
        axis.plot(seconds, values, linewidth=0.9, color="#24527a")
        axis.set_ylabel(f"{channel.name}\n[{channel.unit}]" if channel.unit else channel.name, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.margins(x=0)
        _shade(axis, seconds, plan, spans)
    axes[-1].set_xlabel("seconds since the first reading that was watched")
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "anomalite", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _shade(axis: Axes, seconds: np.ndarray, plan: Plan, spans: list[tuple[float, float]]) -> None:
    if plan.faulty is not None and plan.faulty.any():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], plan.faulty.astype(int), [0]])))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            axis.axvspan(seconds[begin], seconds[end - 1], color="#000", alpha=0.12, linewidth=0)
    for begin_s, end_s in spans:
        axis.axvspan(begin_s, end_s, color="#d93025", alpha=0.18, linewidth=0)
        axis.axvline(begin_s, color="#d93025", linewidth=1.2)


def alert_spans(alerts: list[Payload], begin_ns: int, last_s: float) -> list[tuple[float, float]]:
    """Return (opened, closed) of every anomaly, in seconds since the first reading; one still open ends at the last."""
    spans = []
    for alert in alerts:
        if alert["event_type"] != "anomaly":
            continue
        closing = next((a for a in alerts if a["id"] == alert["id"] and a["life"] == "close" and a["window"]), None)
        end_s = (to_ns(closing["window"]["end"]) - begin_ns) / 1e9 if closing else last_s
        spans.append(((to_ns(alert["window"]["end"]) - begin_ns) / 1e9, end_s))
    return spans
