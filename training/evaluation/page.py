"""What the reports of readings and of images have in common: the page, and how figures are told.

A report is one HTML file without anything outside it. The same run gives the same bytes: plots have salted ids and no
date, and nothing tells when the report was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from edge_agent.contract.calibration import Calibration, Grade
from edge_agent.contract.words import duration
from training.artifacts import RunFolder
from training.evaluation import plots
from training.evaluation.metrics import S_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure of the report."""

    title: str
    svg: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A figure in numbers, and what it means."""

    title: str
    figure: str
    words: str


def page(template: str, **values: Any) -> str:
    """A page of this folder's templates as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)


def grade_words(calibration: Calibration) -> str:
    """The threshold and what it stands on."""
    words = (
        f"threshold {calibration.threshold:.4g}, {calibration.grade} from "
        f"{duration(S_PER_DAY * calibration.normal_days)} of normal data"
    )
    if calibration.grade is Grade.COUNTED:
        return f"{words}: as many alarms were counted as {calibration.alarms_per_day:g} a day allow"
    words += f"; {duration(3600 * calibration.hours_needed)} more would give a better grade"
    return words + (
        ": until then no rate of false alarms is promised" if calibration.grade is Grade.PROVISIONAL else ""
    )


def listed(lines: Sequence[Line]) -> Iterator[str]:
    """Figures for the terminal, one below the other, each with its meaning."""
    title, figure = max(len(line.title) for line in lines), max(len(line.figure) for line in lines)
    for line in lines:
        yield f"  {line.title:<{title}}  {line.figure:>{figure}}  {line.words}"


def number(value: float | None, unit: str = "") -> str:
    """A figure in three digits."""
    return "not defined" if value is None else f"{value:.3g}{unit}"


def delay(seconds: float | None) -> str:
    """A delay in words."""
    return "not defined" if seconds is None else duration(seconds)


def training_plot(run: RunFolder, watched: str) -> list[Plot]:
    """The losses of the fit, where it was trained; `watched` is what early stopping watched."""
    curves = run.metrics["fit"]["curves"]
    if not curves:
        return []
    words = f"Loss in training and, where there are enough, on {watched}, which early stopping watches."
    return [Plot(title="Training", svg=plots.training(curves), words=words)]
