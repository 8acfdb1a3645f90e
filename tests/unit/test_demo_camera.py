"""The parts of a camera's demonstration: what passes the camera, what is counted, what the report shows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.records import NS
from edge_agent.contract.wire import utc_text
from tests.image_folders import picture, plain_folder, sequence_folder, write
from training.experiments.demo_camera import _told, main
from training.experiments.demo_camera_report import verdict, write_report
from training.experiments.demo_parts import LEAD, MOST_DEFECTIVE, Part, Watched, line_up
from training.image_artifacts import JudgedImage


def images(good: int, *bad: str) -> list[JudgedImage]:
    normal = [JudgedImage(file=f"good/{number}", kind="good", defective=False) for number in range(good)]
    return normal + [JudgedImage(file=f"{kind}/{at}", kind=kind, defective=True) for at, kind in enumerate(bad)]


# What passes.


def test_defective_parts_come_among_as_many_good_ones_after_some_good_ones() -> None:
    line = [image.defective for image in line_up(images(30, *["scratch"] * 9))]
    assert not any(line[:LEAD])
    assert (len(line), sum(line)) == (LEAD + 2 * 9, 9)
    assert (True, True) in pairwise(line)


def test_no_part_passes_twice() -> None:
    files = [image.file for image in line_up(images(30, *["scratch"] * 9))]
    assert len(set(files)) == len(files)


def test_of_many_defective_parts_some_of_every_kind_pass() -> None:
    line = line_up(images(200, *["scratch"] * 50, *["missing"] * 50))
    kinds = [image.kind for image in line if image.defective]
    assert len(kinds) == MOST_DEFECTIVE
    assert kinds.count("scratch") == kinds.count("missing") == MOST_DEFECTIVE / 2


def test_where_good_parts_are_few_fewer_defective_ones_pass_and_at_least_one() -> None:
    assert sorted(image.defective for image in line_up(images(3, *["scratch"] * 9))) == [False] * 3 + [True] * 3
    assert [image.defective for image in line_up(images(0, *["scratch"] * 9))] == [True]


# What is counted.


def alert(kind: str, part: int | None, *, id_: str = "e") -> dict[str, Any]:
    time = None if part is None else utc_text(part * 2 * NS)
    return {
        "id": id_,
        "event_type": kind,
        "severity": "critical",
        "level": 0.9,
        "text": f"<{kind}>",
        "window": time and {"start": time, "end": time, "samples": 1},
    }


def watched(folder: Path, *alerts: dict[str, Any]) -> Watched:
    """Four parts two seconds apart, the second and the last defective."""
    rng = np.random.default_rng(0)
    return Watched(
        parts=tuple(
            Part(
                number=number,
                picture=write(folder / f"{number}.png", picture(rng, blob=defective)),
                name=f"part-{number}.png",
                defective=defective,
            )
            for number, defective in enumerate((False, True, False, True))
        ),
        interval_s=2.0,
        alerts=alerts,
        scores=({"time": utc_text(2 * NS), "level": 0.9}, {"time": utc_text(6 * NS), "level": None}),
        pictures={},
    )


def test_a_part_is_alarmed_where_an_anomaly_opened_at_it(tmp_path: Path) -> None:
    seen = watched(tmp_path, alert("anomaly", 1), alert("anomaly_cleared", 3), alert("anomaly", 2))
    assert [part.number for part in seen.judged(defective=True, alarmed=True)] == [1]
    assert [part.number for part in seen.judged(defective=True, alarmed=False)] == [3]
    assert [part.number for part in seen.judged(defective=False, alarmed=True)] == [2]
    assert verdict(seen) == "1 of 2 defective parts raised an alert, and 1 of 2 good ones."


def test_of_two_anomalies_in_a_part_the_first_stands_for_both(tmp_path: Path) -> None:
    seen = watched(tmp_path, alert("anomaly", 1, id_="first"), alert("anomaly", 1, id_="second"))
    assert seen.first_alerts()[1]["id"] == "first"


def test_a_fault_of_the_camera_alarms_no_part(tmp_path: Path) -> None:
    assert not watched(tmp_path, alert("sensor_fault", 1), alert("sensor_fault", None)).first_alerts()


@pytest.mark.parametrize(("part", "words"), [(1, "a smaller k in weld.toml"), (2, "a larger k in weld.toml")])
def test_what_was_missed_or_false_says_which_way_the_threshold_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: int, words: str
) -> None:
    code = _told(watched(tmp_path, alert("anomaly", part)), {}, tmp_path, "5 normal pictures", Path("weld.toml"))
    assert (words in capsys.readouterr().out, code) == (True, part - 1)  # only a defective part that is found will do


# What is shown.


def test_the_report_shows_found_false_and_missed_parts_and_needs_no_other_file(tmp_path: Path) -> None:
    seen = watched(tmp_path, alert("anomaly", 1), alert("anomaly", 2), alert("agent_restarted", None))
    overlay = write(tmp_path / "overlay.png", picture(np.random.default_rng(1)))
    report = write_report(tmp_path / "report.html", seen, {1: overlay, 2: overlay}, "Parts & more.", tmp_path / "run")
    text = report.read_text()
    titles = [line for line in text.splitlines() if line.startswith("<h2>")]
    assert titles == [
        "<h2>Defective parts that raised an alert</h2>",
        "<h2>Good parts that raised an alert</h2>",
        "<h2>Defective parts that raised none</h2>",
        "<h2>A good part</h2>",
        "<h2>All that came through the broker</h2>",
    ]
    assert text.count("data:image/jpeg;base64,") == text.count("<img") == 6
    assert "Parts &amp; more." in text
    assert "&lt;anomaly&gt;" in text
    assert "part-3.png" in text
    assert (tmp_path / "watched.svg").read_text() in text


# What is refused.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "has no folders and no images"),
        (lambda path: path.write_text("x"), "is a file: expected a folder"),
        (lambda path: None, r"does not exist.*\nPut good parts into FOLDER/normal"),
        (lambda path: plain_folder(path, defective=0), "no defective images"),
        (sequence_folder, "is a sequence"),
    ],
)
def test_a_folder_in_which_nothing_can_be_watched_is_refused_at_once(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(SystemExit, match=words):
        main(["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")])


def test_a_folder_of_somebody_else_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    with pytest.raises(SystemExit, match="holds something else"):
        main(["--data", str(plain_folder(tmp_path / "data")), "--out", str(tmp_path)])
    assert (tmp_path / "alerts").is_dir()
