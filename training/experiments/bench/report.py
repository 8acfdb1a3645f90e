"""The tables for a person: `results.md`, and `results.html` with plots and nothing outside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from training.experiments.bench import plots
from training.experiments.bench.cases import DataSet
from training.experiments.bench.tables import Entry, Row

TEMPLATE = Path(__file__).with_name("report.html.jinja")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table."""

    title: str
    words: str
    """What it means."""
    text: Callable[[Row], str]


def _number(name: str, digits: str) -> Callable[[Row], str]:
    return lambda row: "" if row.get(name) is None else format(row[name], digits)


def _f1(row: Row) -> str:
    if row["f1"] is None:
        return ""
    return f"{row['f1']:.3f}" + ("" if row["f1_low"] is None else f" ({row['f1_low']:.3f} to {row['f1_high']:.3f})")


def _name(row: Row) -> str:
    return str(row["detector"]) + (f" ({row['failed']} failed)" if row["failed"] else "")


COLUMNS = (
    Column(title="detector", words="failed: files on which it gave no result, see below", text=_name),
    Column(title="F1", words="over the rows of all files; in brackets 95 % by bootstrap over files", text=_f1),
    Column(title="FAR %", words="normal rows alarmed", text=_number("far", ".1f")),
    Column(title="MAR %", words="faulty rows not alarmed", text=_number("mar", ".1f")),
    Column(title="AUC-PR", words="ranking of rows, mean over files", text=_number("auc_pr", ".3f")),
    Column(title="VUS-PR", words="the same, forgiving 50 rows at the edges of a fault", text=_number("vus_pr", ".3f")),
    Column(title="found", words="share of the faults with an event on", text=_number("event_recall", ".2f")),
    Column(
        title="false alarms/h",
        words="events that touch no fault, per hour of normal rows",
        text=_number("false_alarms_per_hour", ".3g"),
    ),
    Column(title="delay s", words="median, from fault to event", text=_number("delay_s", ".3g")),
    Column(
        title="us/window", words="median of the device's scorer here, one thread", text=_number("us_per_window", ".1f")
    ),
    Column(title="bytes", words="of the graph", text=_number("bytes", "d")),
    Column(title="parity", words="largest relative error against the float model", text=_number("parity", ".1e")),
    Column(title="format", words="of the shipped graph", text=lambda row: str(row["format"] or "")),
)

NAB_COLUMNS = tuple(
    Column(title=f"NAB {words}", words=f"NAB's own score, profile {name}", text=_number(f"nab_{name}", ".1f"))
    for name, words in (("standard", "standard"), ("reward_low_FP", "low FP"), ("reward_low_FN", "low FN"))
)


def columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of a data set's table."""
    return COLUMNS + (NAB_COLUMNS if any("nab_standard" in row for row in rows) else ())


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Detectors by F1, the best first; then published methods; then controls."""
    return sorted(rows, key=lambda row: (plots.group(row["detector"]), -(row["f1"] or 0), row["detector"]))


def markdown(data: Sequence[DataSet], rows: Sequence[Row]) -> str:
    """Every table as Markdown."""
    tables = (in_order([row for row in rows if row["data"] == each.name]) for each in data)
    return "\n".join(_markdown_table(each, own) for each, own in zip(data, tables, strict=True))


def _markdown_table(data: DataSet, rows: Sequence[Row]) -> str:
    shown = columns(rows)
    lines = [
        f"## {data.name}: {sum(len(case.trials) for case in data.cases)} files",
        "",
        "| " + " | ".join(column.title for column in shown) + " |",
        "|" + "---|" * len(shown),
        *("| " + " | ".join(column.text(row) for column in shown) + " |" for row in rows),
        "",
        *(f"- {failure(row)}" for row in rows if row["failed"]),
    ]
    return "\n".join(lines) + "\n"


def failure(row: Row) -> str:
    """Why a detector has no result on some files."""
    return f"{row['detector']} failed on {row['failed']} files, for instance: {row['reason']}"


def html(entries: Sequence[Entry], rows: Sequence[Row], files: Sequence[Row]) -> str:
    """The report with plots."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    data = list({entry.data.name: entry.data for entry in entries}.values())
    sections = [_section(each, [entry for entry in entries if entry.data is each], rows, files) for each in data]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(sections=sections, failure=failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A data set in the report."""

    name: str
    columns: tuple[Column, ...]
    rows: list[Row]
    plots: list[plots.Plot]


def _section(data: DataSet, entries: Sequence[Entry], rows: Sequence[Row], files: Sequence[Row]) -> Section:
    own = in_order([row for row in rows if row["data"] == data.name])
    per_file = [row for row in files if row["data"] == data.name]
    shown = [plots.quality(own), plots.cost(own), plots.heatmap(own, per_file), plots.example(entries, own)]
    return Section(name=data.name, columns=columns(own), rows=own, plots=[plot for plot in shown if plot is not None])
