"""The tables for a person: `results.md`, and `results.html` with plots and nothing outside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import jinja2

from training.experiments.bench import plots
from training.experiments.bench.cases import DataSet
from training.experiments.bench.falls import Fall, largest
from training.experiments.bench.tables import Entry, Row

TEMPLATE = Path(__file__).with_name("report.html.jinja")

FALLS = "What contaminated training data cost"
"""Title of the table that sets clean beside contaminated."""

INTRO = """\
<p>Every detector was fitted and converted by its recipe on the training rows of a data set's official protocol; its
shipped graph then scored the rest in the device's pipeline, in order and without a look ahead, against the threshold it
ships with. <span style="color:#8a4b00">Published methods</span> run by their authors' recipes and ship nothing.
<span class="note">Controls</span> need no model: <code>control_always</code> alarms every row,
<code>control_clock</code> a range of rows chosen with the labels known, <code>control_channel</code> goes by the
largest deviation of a single channel, <code>control_random</code> by chance.</p>"""
"""What the report is of, as HTML."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """A column of a table whose rows are made of T."""

    title: str
    words: str
    """What it means."""
    text: Callable[[T], str]


def number(name: str, digits: str) -> Callable[[Row], str]:
    """The figure of a row, empty where it has none."""
    return lambda row: "" if row.get(name) is None else format(row[name], digits)


def with_interval(name: str) -> Callable[[Row], str]:
    """The figure of a row, with its interval where it has one."""

    def text(row: Row) -> str:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        return number(name, ".3f")(row) + ("" if low is None else f" ({low:.3f} to {high:.3f})")

    return text


def _name(row: Row) -> str:
    return str(row["detector"]) + (f" ({row['failed']} failed)" if row["failed"] else "")


COLUMNS: tuple[Column[Row], ...] = (
    Column(title="detector", words="failed: files on which it gave no result, see below", text=_name),
    Column(
        title="F1",
        words="over the rows of all files; in brackets 95 % by bootstrap over files",
        text=with_interval("f1"),
    ),
    Column(title="FAR %", words="normal rows alarmed", text=number("far", ".1f")),
    Column(title="MAR %", words="faulty rows not alarmed", text=number("mar", ".1f")),
    Column(title="AUC-PR", words="ranking of rows, mean over files", text=number("auc_pr", ".3f")),
    Column(title="VUS-PR", words="the same, forgiving 50 rows at the edges of a fault", text=number("vus_pr", ".3f")),
    Column(title="found", words="share of the faults with an event on", text=number("event_recall", ".2f")),
    Column(
        title="false alarms/h",
        words="events that touch no fault, per hour of normal rows",
        text=number("false_alarms_per_hour", ".3g"),
    ),
    Column(title="delay s", words="median, from fault to event", text=number("delay_s", ".3g")),
    Column(
        title="us/window", words="median of the device's scorer here, one thread", text=number("us_per_window", ".1f")
    ),
    Column(title="bytes", words="of the graph", text=number("bytes", "d")),
    Column(title="parity", words="largest relative error against the float model", text=number("parity", ".1e")),
    Column(title="format", words="of the shipped graph", text=lambda row: str(row["format"] or "")),
)

NAB_COLUMNS = tuple(
    Column(title=f"NAB {words}", words=f"NAB's own score, profile {name}", text=number(f"nab_{name}", ".1f"))
    for name, words in (("standard", "standard"), ("reward_low_FP", "low FP"), ("reward_low_FN", "low FN"))
)


def _decimals(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}"


def _fall(found: Fall) -> str:
    return _decimals(found.fall) + ("" if found.low is None else f" ({found.low:.3f} to {found.high:.3f})")


FALL_COLUMNS: tuple[Column[Fall], ...] = (
    Column(title="detector", words="", text=lambda found: found.detector),
    Column(title="data", words="", text=lambda found: found.data),
    Column(title="files", words="with a result both ways", text=lambda found: str(found.files)),
    Column(title="AUC-PR clean", words="over these files", text=lambda found: _decimals(found.clean_auc_pr)),
    Column(title="AUC-PR", words="fitted on contaminated rows", text=lambda found: _decimals(found.auc_pr)),
    Column(title="falls by", words="in brackets 95 % by bootstrap over files", text=_fall),
    Column(title="F1 clean", words="over these files", text=lambda found: _decimals(found.clean_f1)),
    Column(title="F1", words="threshold set on contaminated rows", text=lambda found: _decimals(found.f1)),
)


def columns(rows: Sequence[Row]) -> tuple[Column[Row], ...]:
    """The columns of a data set's table."""
    return COLUMNS + (NAB_COLUMNS if any("nab_standard" in row for row in rows) else ())


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Detectors by F1, the best first; then published methods; then controls."""
    return sorted(rows, key=lambda row: (plots.group(row["detector"]), -(row["f1"] or 0), row["detector"]))


def markdown(data: Sequence[DataSet], rows: Sequence[Row], found: Sequence[Fall] = ()) -> str:
    """Every table as Markdown; that of the falls where training data were contaminated."""
    tables = [_of_data_set(each, in_order([row for row in rows if row["data"] == each.name])) for each in data]
    if found:
        tables.append([f"## {FALLS}", "", *table(FALL_COLUMNS, found), "", most(found)])
    return "\n".join("\n".join(lines) + "\n" for lines in tables)


def _of_data_set(data: DataSet, rows: Sequence[Row]) -> list[str]:
    return [
        f"## {data.name}: {sum(len(case.trials) for case in data.cases)} files",
        "",
        *table(columns(rows), rows),
        "",
        *(f"- {failure(row)}" for row in rows if row["failed"]),
    ]


def table(shown: Sequence[Column[T]], rows: Sequence[T]) -> list[str]:
    """Lines of Markdown."""
    return [
        "| " + " | ".join(column.title for column in shown) + " |",
        "|" + "---|" * len(shown),
        *("| " + " | ".join(column.text(row) for column in shown) + " |" for row in rows),
    ]


def most(found: Sequence[Fall]) -> str:
    """The largest fall, in a line."""
    worst = largest(found)
    if worst is None:
        return "No fall of AUC-PR could be measured: no file with faults has a result both ways."
    said = f"AUC-PR falls by at most {worst.fall:.3f}: {worst.detector} on {worst.data}."
    lost = [(fall.clean_f1 - fall.f1, fall) for fall in found if fall.clean_f1 is not None and fall.f1 is not None]
    if not lost:
        return said
    most_f1, of = max(lost, key=lambda pair: pair[0])
    f1_said = f"F1, with a threshold set on contaminated rows too, by at most {most_f1:.3f}"
    return f"{said} {f1_said}: {of.detector} on {of.data}."


def failure(row: Row) -> str:
    """Why a detector has no result on some files."""
    return f"{row['detector']} failed on {row['failed']} files, for instance: {row['reason']}"


def html(entries: Sequence[Entry], rows: Sequence[Row], files: Sequence[Row], found: Sequence[Fall] = ()) -> str:
    """The report with plots."""
    data = list({entry.data.name: entry.data for entry in entries}.values())
    sections = [_section(each, [entry for entry in entries if entry.data is each], rows, files) for each in data]
    return page(INTRO, sections, failure, found)


def page(intro: str, sections: Sequence[Section], failed: Callable[[Row], str], found: Sequence[Fall] = ()) -> str:
    """The report of these sections; `failed` says why a row has failed."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        intro=intro,
        sections=sections,
        failure=failed,
        falls=found,
        falls_title=FALLS,
        fall_columns=FALL_COLUMNS,
        most_fallen=most(found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A data set in the report."""

    name: str
    columns: tuple[Column[Row], ...]
    rows: list[Row]
    plots: list[plots.Plot]


def _section(data: DataSet, entries: Sequence[Entry], rows: Sequence[Row], files: Sequence[Row]) -> Section:
    own = in_order([row for row in rows if row["data"] == data.name])
    per_file = [row for row in files if row["data"] == data.name]
    shown = [plots.quality(own), plots.cost(own), plots.heatmap(own, per_file), plots.example(entries, own)]
    return Section(name=data.name, columns=columns(own), rows=own, plots=[plot for plot in shown if plot is not None])


def write_files(out: Path, rows: Sequence[Row], files: Sequence[Row], tables: str, html_text: str) -> str:
    """Write the four files of a run; gives the tables and what was written, for the terminal."""
    for name, values in (("results.json", rows), ("files.json", files)):
        (out / name).write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / "results.md").write_text(tables, encoding="utf-8")
    (out / "results.html").write_text(html_text, encoding="utf-8")
    return f"{tables}\nwrote results.json, files.json, results.md and results.html in {out}"
