"""The report of a run on images: one HTML file without anything outside it, and a summary for the terminal."""

from __future__ import annotations

import numpy as np

from edge_agent.contract.calibration import Calibration, Grade
from edge_agent.contract.words import counted, duration
from training.artifacts import write_json
from training.evaluation import plots
from training.evaluation.frames import Agreement, Figures, FrameEvaluation, Judged, strength
from training.evaluation.page import Line, Plot, delay, listed, number, page, training_plot
from training.evaluation.sheet import sheet
from training.image_artifacts import FrameRun

NO_LABELS = (
    "There are not both normal and defective test images, so nothing can be said of how well defects are found: give "
    "some of each (docs/images.md says how a folder tells them apart) to see."
)
"""Instead of the figures."""

LOW_RECALL = 0.6
"""Share of the defective images that are alarmed below which the terminal says what a lower threshold would give."""

STRANGEST = 3
"""Normal images that are named: of a hundred one lies on the threshold."""


def write_frame_report(run: FrameRun, evaluation: FrameEvaluation) -> str:
    """Write `metrics.json` and `report.html` into the run.

    Returns:
        Threshold and figures for the terminal.
    """
    write_json(run.path / "metrics.json", run.metrics | {"evaluation": evaluation.to_dict()})
    (run.path / "report.html").write_text(render(run, evaluation), encoding="utf-8")
    figures = evaluation.float_graph.figures
    threshold = [grade_words(run, evaluation.float_graph.calibration), strangest_words(run, evaluation.float_graph)]
    if figures is None:
        return "\n".join([*threshold, NO_LABELS])
    lines = ["Test images, by their labels:", *listed(figure_lines(figures)), alarmed_words(run)]
    lines += missed_words(evaluation, figures)
    lines += [_agreement_words(name, each) for name, (_, each) in evaluation.device.items()]
    return "\n".join([*threshold, *lines])


def render(run: FrameRun, evaluation: FrameEvaluation) -> str:
    """The report as HTML."""
    figures = evaluation.float_graph.figures
    return page(
        "frame_report.html.jinja",
        info=run.info,
        what="frames",
        calibration=evaluation.float_graph.calibration,
        grade_words=grade_words(run, evaluation.float_graph.calibration),
        alarmed_words=alarmed_words(run),
        no_labels=NO_LABELS,
        figures=figures,
        lines=figure_lines(figures) if figures else [],
        chosen=evaluation.by_labels,
        device=[_device_row(name, *each) for name, each in evaluation.device.items()],
        sheet=sheet(run, evaluation),
        plots=[*_plots(run, evaluation), *training_plot(run, "normal images held back")],
    )


def grade_words(run: FrameRun, calibration: Calibration) -> str:
    """The threshold and what it stands on."""
    unseen = " that the fit never saw" if run.optimism is None else ", each scored by a fit without it"
    words = (
        f"threshold {calibration.threshold:.4g}, {calibration.grade} from "
        f"{counted(len(run.parts.validation), 'normal image')}{unseen}, taken as one every "
        f"{duration(run.input.interval_s)}"
    )
    if calibration.grade is Grade.PROVISIONAL:
        return f"{words}; until there are more, no rate of false alarms is promised"
    return f"{words}, for {counted(calibration.alarms_per_day, 'false alarm')} a day"


def strangest_words(run: FrameRun, judged: Judged) -> str:
    """Which normal images the threshold hangs on: a defect among them hides others."""
    files = run.parts.validation[run.input.warm_up :]
    strong = strength(judged.validation.scores, judged.calibration)
    first = np.argsort(-strong, kind="stable")[:STRANGEST]
    named = ", ".join(f"{files[at]} ({strong[at]:.2f})" for at in first)
    return (
        f"strangest of these: {named}, in distances of the threshold from the median; if one is defective or no such "
        "part, take it out and fit again"
    )


def missed_words(evaluation: FrameEvaluation, figures: Figures) -> list[str]:
    """What to do where most defects lie below the threshold, though another would find them."""
    chosen, recall = evaluation.by_labels, figures.recall
    if recall is None or recall >= LOW_RECALL or chosen is None or chosen.mar_percent >= 100 * (1 - recall):
        return []
    missed, defective = figures.confusion.false_negatives, int(evaluation.truth.sum())
    words = (
        f"The threshold lies above {missed} of {defective} defective images; {chosen.threshold:.4g} would miss "
        f"{chosen.mar_percent:.1f} % of them and alarm {chosen.far_percent:.1f} % of the normal ones. More normal "
        "images, without strange ones, or a smaller decision.k bring it down"
    )
    return [words]


def alarmed_words(run: FrameRun) -> str:
    """When an image is alarmed here."""
    rule = run.info.decision.rule
    if not run.parts.sequence:
        return (
            "An image is alarmed where its score is above the threshold, each by itself: they do not follow each other."
        )
    return f"A frame is alarmed where {rule.n} of the last {rule.m} scores are above the threshold."


def figure_lines(found: Figures) -> list[Line]:
    """Name, figure and meaning of what was measured on the test images."""
    confusion, events = found.confusion, found.events
    normal = confusion.false_positives + confusion.true_negatives
    low, high = found.image_auroc_interval or (None, None)
    lines = [
        (
            "image AUROC",
            number(found.ranking.image_auroc),
            f"ranking of defective above normal images; 95 % interval {number(low)} to {number(high)}",
        ),
        ("AUC-PR", number(found.auc_pr), "the same, as precision and recall"),
        (
            "pixel AUROC",
            number(found.ranking.pixel_auroc),
            _of_pixels(found, "ranking of defective above normal pixels"),
        ),
        ("AUPRO", number(found.ranking.aupro), _of_pixels(found, "overlap with each defect, up to 30 % false pixels")),
        ("F1", number(found.f1), "harmonic mean of precision and recall, at the threshold"),
        ("precision", number(found.precision), "share of the alarmed images that are defective"),
        ("recall", number(found.recall), "share of the defective images that are alarmed"),
        ("accuracy", number(found.accuracy), "share of all images that are right"),
        ("false alarms", f"{confusion.false_positives} of {normal}", "normal test images that are alarmed"),
    ]
    if (names := found.naming) is not None:
        words = (
            f"share of {counted(names.images, 'defective image')} named rightly; {number(names.commonest)} by always "
        )
        lines.append(("kind", number(names.accuracy), f"{words}naming the commonest"))
    if events is not None:
        lines += [
            ("anomalies found", f"{events.detected} of {events.events}", "with at least one alarmed frame"),
            ("median delay", delay(events.median_delay_s), "from the first anomalous frame to the first alarm"),
            ("false events", str(events.false_alarms), "alarms without an anomalous frame, joined over the hold-off"),
        ]
    return [Line(title=title, figure=figure, words=words) for title, figure, words in lines]


def _of_pixels(found: Figures, words: str) -> str:
    if not found.judged_pixels_of:
        return "needs a map and a mask for every defective image"
    return f"{words}; {counted(found.judged_pixels_of, 'image')}"


def _device_row(name: str, judged: Judged, agreement: Agreement) -> list[str]:
    figures = judged.figures
    ranked = figures.ranking if figures else None
    areas = [ranked.image_auroc, ranked.pixel_auroc, ranked.aupro] if ranked else [None] * 3
    return [
        name,
        *("" if area is None else f"{area:.3f}" for area in areas),
        number(figures.f1) if figures else "",
        f"{judged.calibration.threshold:.4g} ({judged.calibration.grade})",
        f"{agreement.largest_difference:.2g}",
        f"{agreement.rank_correlation:.4f}",
    ]


def _agreement_words(name: str, found: Agreement) -> str:
    return (
        f"{name} on the device's runtime: scores differ from the float graph's by at most "
        f"{found.largest_difference:.2g} distances of threshold from median, rank correlation "
        f"{found.rank_correlation:.4f}"
    )


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _plots(run: FrameRun, evaluation: FrameEvaluation) -> list[Plot]:
    judged, truth = evaluation.float_graph, evaluation.truth
    calibration, validation = judged.calibration, strength(judged.validation.scores, judged.calibration)
    if judged.test is None:
        words = (
            "Normal images as a fit that never saw them scores them; the threshold, at 1, comes from these. "
            f"{_sentence(strangest_words(run, judged))}"
        )
        return [Plot(title="Scores", svg=plots.histogram({"validation, normal": validation}), words=words)]
    test = strength(judged.test.scores, calibration)
    groups = {"validation, normal": validation, "test, normal": test[~truth], "test, defective": test[truth]}
    shown = [
        Plot(
            title="Scores",
            svg=plots.histogram({name: values for name, values in groups.items() if len(values)}),
            words="In distances of the threshold from the median of the validation images, which it comes from. "
            f"{_sentence(strangest_words(run, judged))}",
        )
    ]
    if run.parts.sequence:
        svg = plots.score(np.arange(len(truth)), judged.test.scores, calibration.threshold, truth)
        shown.insert(0, Plot(title="Score of the test frames", svg=svg, words="Light red: labelled anomaly."))
    if judged.figures is not None:
        svg = plots.ranking(truth, judged.test.scores, calibration.threshold)
        shown.append(Plot(title="Ranking", svg=svg, words="Single images, whatever N of M."))
    return shown
