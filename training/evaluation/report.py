"""The report of an evaluation: one HTML file without anything outside it, and a summary for the terminal.

The same run gives the same bytes: plots have salted ids and no date, and nothing tells when the report was made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.words import duration
from training.artifacts import Run, write_json
from training.evaluation import plots
from training.evaluation.evaluate import Evaluation, TestPart
from training.evaluation.metrics import Metrics
from training.evaluation.page import Line, Plot, delay, grade_words, listed, number, page, training_plot

MOST_ALARMS = 200
"""Alarms listed; more are a threshold to be changed, not a list to be read."""

NO_LABELS = (
    "There is no labelled test part with scores, so nothing can be said of how well faults are found: label known ones "
    "(label_column or labels_file in the recipe) to see."
)
"""Instead of the figures."""


def write_report(run: Run, evaluation: Evaluation) -> str:
    """Write `metrics.json` and `report.html` into the run.

    Returns:
        Threshold and figures for the terminal.
    """
    write_json(run.path / "metrics.json", run.metrics | {"evaluation": evaluation.to_dict()})
    (run.path / "report.html").write_text(render(run, evaluation), encoding="utf-8")
    return "\n".join([grade_words(evaluation.calibration), *_figure_lines(run, evaluation.test)])


def _figure_lines(run: Run, test: TestPart | None) -> list[str]:
    """The figures one below the other, each with its meaning; or why there are none."""
    if test is None:
        return [NO_LABELS]
    return [
        "Test part of the recording, by its labels:",
        *listed(figures(test.figures)),
        alarmed_words(run.info.decision.rule),
    ]


def render(run: Run, evaluation: Evaluation) -> str:
    """The report as HTML."""
    test = evaluation.test
    return page(
        "report.html.jinja",
        info=run.info,
        what="windows",
        calibration=evaluation.calibration,
        grade_words=grade_words(evaluation.calibration),
        alarmed_words=alarmed_words(run.info.decision.rule),
        no_labels=NO_LABELS,
        duration=duration,
        test=test,
        lines=figures(test.figures) if test else [],
        alarms=test.alarms[:MOST_ALARMS] if test else [],
        plots=[
            *(_test_plots(run, evaluation, test) if test else []),
            _validation_plot(evaluation),
            *training_plot(run, "the last training windows"),
        ],
        unknown=evaluation.unknown,
    )


def alarmed_words(rule: DecisionRule) -> str:
    """What an alarmed row is here, and what the converters' backtest counts instead."""
    return (
        f"A row is alarmed where {rule.n} of the last {rule.m} scores are above the threshold. "
        "`python -m converters backtest` counts what the device would show instead: an event, once open, stays open "
        f"until a window and {duration(rule.hold_off_s)} were quiet, so more rows are in alarm."
    )


def figures(found: Metrics) -> list[Line]:
    """Name, figure and meaning of what was measured on the test part."""
    events = found.detection
    return [
        Line(title=title, figure=figure, words=words)
        for title, figure, words in (
            ("F1", number(found.f1), "harmonic mean of precision and recall, row by row"),
            ("precision", number(found.precision), "share of the alarmed rows that are faulty"),
            ("recall", number(found.recall), "share of the faulty rows that are alarmed"),
            ("accuracy", number(found.accuracy), "share of all rows that are right"),
            ("FAR", number(found.far_percent, " %"), "share of the normal rows that are alarmed"),
            ("MAR", number(found.mar_percent, " %"), "share of the faulty rows that are not alarmed"),
            ("AUC-PR", number(found.auc_pr), "ranking of faulty above normal rows, whatever the threshold"),
            ("AUC-ROC", number(found.auc_roc), "the same; flatters where faults are rare"),
            (
                "VUS-PR",
                number(found.vus_pr),
                f"AUC-PR that forgives {found.max_buffer // 2} rows at the edges of a fault",
            ),
            ("faults found", f"{events.detected} of {events.events}", "with at least one alarmed row"),
            ("median delay", delay(events.median_delay_s), "from the first faulty row to the first alarm"),
            (
                "false alarms",
                str(events.false_alarms),
                f"joined over a window and the hold-off; {number(events.false_alarms_per_day)} a day of normal rows",
            ),
        )
    ]


def _test_plots(run: Run, evaluation: Evaluation, test: TestPart) -> list[Plot]:
    scored, threshold = test.scored, evaluation.calibration.threshold
    names = [channel.name + (f"\n{channel.unit}" if channel.unit else "") for channel in run.input.channels]
    shown = [
        Plot(
            title="Readings and alarms",
            svg=plots.series(test.readings, names, test.labels, test.on, _most_alarming(test, len(names))),
            words="Light red: labelled fault. Red below: an alarm is on.",
        ),
        Plot(
            title="Score of the test part",
            svg=plots.score(scored.row, scored.scores, threshold, test.labels),
            words="Light red: labelled fault.",
        ),
    ]
    if test.truth.any() and not test.truth.all():
        ranking = plots.ranking(test.truth, scored.scores, threshold)
        shown.append(Plot(title="Ranking", svg=ranking, words="Single windows, before N of M."))
    return shown


def _most_alarming(test: TestPart, channels: int) -> Sequence[int]:
    """Channels to draw, in their order: all, or those with the largest contributions."""
    if channels <= plots.MOST_CHANNELS or test.scored.contributions is None:
        return range(channels)
    most = np.argsort(-test.scored.contributions.mean(axis=0))[: plots.MOST_CHANNELS]
    return sorted(most.tolist())


def _validation_plot(evaluation: Evaluation) -> Plot:
    scored = evaluation.validation
    return Plot(
        title="Score of the validation part",
        svg=plots.score(scored.row, scored.scores, evaluation.calibration.threshold, None),
        words="Normal readings that the fit never saw; the threshold comes from these.",
    )
