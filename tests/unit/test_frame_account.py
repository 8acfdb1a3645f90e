"""What an alert of a camera says, keeps and publishes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_agent import frame_account
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.frames import Pixels
from edge_agent.contract.records import NS, Decision, EventKind, Fault, Life, Stage, Transition
from edge_agent.contract.wire import MAX_IMAGE_BYTES, ClockState, WindowRef, to_json, utc_text
from edge_agent.contract.zones import Zone
from edge_agent.frame_account import FrameAccount, place
from edge_agent.reporting import Reporter
from edge_agent.vision.frame_pipeline import FrameDecision
from edge_agent.vision.objects import WHOLE
from edge_agent.vision.pictures import decode_jpeg
from edge_agent.vision.regions import Region
from tests.fakes import KeptAlerts, KeptEvidence, KeptPayloads
from tests.virtual_clock import EPOCH_NS, VirtualClock

BELT = Zone(name="belt", polygon=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0)), factor=2.0)
REGION = Region(box=(0.0, 0.25, 0.25, 0.5), score=30.0, area=0.03)
OPENED = Transition(
    kind=EventKind.ANOMALY, life=Life.OPEN, id="e1", t_ns=EPOCH_NS, since_ns=EPOCH_NS, score=30.0, level=0.7
)
CLOSED = replace(OPENED, kind=EventKind.ANOMALY_CLEARED, life=Life.CLOSE, reason="normal")
COVERED = replace(
    OPENED, kind=EventKind.SENSOR_FAULT, fault=Fault.CAMERA, detail="the lens is covered", score=None, level=None
)


def calibrated(threshold: float) -> Calibration:
    """Median 0."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    return calibrate(np.linspace(-1, 1, 100), t_ns, alarms_per_day=1, n=1, m=1, join_s=1, k=1).with_threshold(threshold)


class Limits:
    """A pipeline that is asked for nothing but its thresholds."""

    def thresholds(self, stage: Stage) -> Calibration:
        return calibrated(10.0 if stage is Stage.NETWORK else 100.0)


class Bench:
    """A reporter and the account of a camera between ports that keep what they get."""

    def __init__(self) -> None:
        self.alerts, self.link, self.evidence = KeptAlerts(), KeptPayloads(), KeptEvidence()
        self.account = FrameAccount("station", self.evidence)
        self.account.use(Limits(), (BELT,))
        self.reporter: Reporter[FrameDecision] = Reporter(
            stream="station",
            device="bench",
            boot_id="boot",
            account=self.account,
            own_time=True,
            alerts=self.alerts,
            publisher=self.link,
            clock=VirtualClock(),
            clock_state=lambda: ClockState.SYNCED,
        )

    def tell(self, *transitions: Transition, region: Region | None = REGION, **given: Any) -> Any:
        """Report one frame with these transitions; return the last alert."""
        cells = np.zeros((4, 4), np.float32)
        cells[1, 0] = 30.0
        found = {
            "decision": Decision(t_ns=EPOCH_NS, anomaly=True, transitions=transitions),
            "pixels": np.full((48, 64, 3), 100, np.uint8),
            "map": cells,
            "regions": (region,) if region else (),
            "where": {each.id: region for each in transitions if region},
        } | given
        item = FrameDecision(**found)
        self.reporter.decided(item, [item.decision])
        return self.alerts.events[-1] if self.alerts.events else None


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Words.


def test_an_alert_says_what_is_where() -> None:
    event = Bench().tell(OPENED)
    assert event.text == "something strange at the left, 3.0 % of the picture (level 0.70, threshold 0.50)"
    assert (event.region.x, event.region.y, event.region.w, event.region.h) == (0.0, 0.25, 0.25, 0.25)
    assert (event.score, event.threshold, event.grade) == (30.0, 10.0, "provisional")
    assert (event.window, event.top) == (WindowRef(start=utc_text(EPOCH_NS), end=utc_text(EPOCH_NS), samples=1), None)


def test_an_alert_in_a_zone_names_it_and_its_threshold() -> None:
    event = Bench().tell(OPENED, region=replace(REGION, zone="belt"))
    assert "(zone belt)" in event.text
    assert event.threshold == 20.0


def test_the_note_says_how_far_beyond_the_threshold_of_its_zone_a_region_is() -> None:
    bench = Bench()
    bench.tell(OPENED)
    bench.tell(replace(OPENED, id="e2"), region=replace(REGION, zone="belt"))
    notes = [bench.evidence.frames[event][0] for event in ("e1", "e2")]
    assert [(note.relative, note.regions[0].relative) for note in notes] == [(3.0, 3.0), (1.5, 1.5)]


def test_a_fault_is_not_held_against_a_threshold() -> None:
    bench = Bench()
    bench.tell(COVERED)
    note, *_ = bench.evidence.frames["e1"]
    assert (note.relative, note.regions[0].relative) == (None, None)


def test_the_share_of_what_is_across_the_picture_names_the_picture_once() -> None:
    event = Bench().tell(OPENED, region=replace(REGION, box=(0.1, 0.1, 0.9, 0.9), area=0.57))
    assert event.text.startswith("something strange across the picture, 57 % of it (level")


SCRATCH = replace(REGION, kind="long_scratch", kind_score=0.91234)


def test_an_alert_names_the_kind_of_defect() -> None:
    bench = Bench()
    event = bench.tell(OPENED, region=SCRATCH)
    assert event.text.startswith("long scratch at the left, 3.0 % of the picture")
    told = json.loads(to_json(event))["region"]
    assert (told["class"], told["class_score"]) == ("long_scratch", 0.9123)
    note, *_ = bench.evidence.frames["e1"]
    assert (note.class_, note.regions[0].class_, note.regions[0].class_score) == ("long_scratch",) * 2 + (0.91234,)


def test_without_kinds_class_is_null() -> None:
    bench = Bench()
    told = json.loads(to_json(bench.tell(OPENED)))["region"]
    assert (told["class"], told["class_score"]) == (None, None)
    note, *_ = bench.evidence.frames["e1"]
    assert (note.class_, note.regions[0].class_, note.regions[0].class_score) == (None, None, None)


def test_a_kind_that_is_not_likelier_than_all_others_together_is_not_named_in_words() -> None:
    event = Bench().tell(OPENED, region=replace(SCRATCH, kind_score=0.49))
    assert event.text.startswith("something strange at the left")
    assert event.region.class_ == "long_scratch"


def test_a_kind_over_the_whole_frame_is_no_place() -> None:
    event = Bench().tell(OPENED, region=replace(SCRATCH, box=WHOLE, area=1.0))
    assert event.text.startswith("long scratch in the picture")


def test_an_alert_of_the_prefilter_is_held_against_its_own_threshold() -> None:
    assert Bench().tell(replace(OPENED, stage=Stage.PREFILTER)).threshold == 100.0


def test_a_region_over_the_whole_frame_is_no_place_but_the_strongest_cell_is() -> None:
    whole = replace(REGION, box=WHOLE, area=1.0)
    said = "the picture as a whole is unlike what is normal"
    assert Bench().tell(OPENED, region=whole).text.startswith(f"{said}, most of all at the left (level")
    assert Bench().tell(OPENED, region=whole, map=None).text.startswith(f"{said} (level")


@pytest.mark.parametrize(
    ("area", "words"), [(0.0001, "0.1 %"), (0.034, "3.4 %"), (0.099, "9.9 %"), (0.5, "50 %"), (0.999, "100 %")]
)
def test_a_share_has_two_figures(area: float, words: str) -> None:
    assert f", {words} of the picture" in Bench().tell(OPENED, region=replace(REGION, area=area)).text


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        ((0.1, 0.1), "at the upper left"),
        ((0.5, 0.1), "at the top"),
        ((0.9, 0.1), "at the upper right"),
        ((0.1, 0.5), "at the left"),
        ((0.5, 0.5), "in the middle"),
        ((0.9, 0.5), "at the right"),
        ((0.1, 0.9), "at the lower left"),
        ((0.5, 0.9), "at the bottom"),
        ((0.9, 0.9), "at the lower right"),
    ],
)
def test_every_place_has_its_words(centre: tuple[float, float], words: str) -> None:
    x, y = centre
    assert place((x - 0.1, y - 0.1, x + 0.1, y + 0.1)) == words


def test_a_close_says_why_and_where_it_was() -> None:
    event = Bench().tell(CLOSED)
    assert (event.text, event.region.x) == ("normal again", 0.0)
    assert event.snapshot is None


def test_a_fault_says_what_is_wrong_with_the_camera() -> None:
    event = Bench().tell(COVERED, region=None)
    assert (event.text, event.threshold, event.region) == ("the lens is covered", None, None)


# Evidence and pictures.


def test_the_very_frame_is_kept_with_its_map_and_what_was_found() -> None:
    bench = Bench()
    event = bench.tell(OPENED)

    note, image, heatmap, values = bench.evidence.frames["e1"]
    assert event.snapshot == "e1.jpg"
    assert abs(decode_jpeg(image).astype(int) - 100).max() <= 2
    assert decode_jpeg(heatmap).shape == (48, 64, 3)
    assert values.max() == 30.0
    assert (note.t_ns, note.box, note.text, note.threshold) == (EPOCH_NS, REGION.box, event.text, 10.0)
    assert [each.score for each in note.regions] == [30.0]


def test_image_and_heatmap_are_published_after_the_alert_with_its_id() -> None:
    bench = Bench()
    committed: list[int] = []
    publish = bench.link.publish_image
    bench.link.publish_image = lambda *given: (committed.append(len(bench.alerts.events)), publish(*given))
    bench.tell(OPENED)
    assert [(kind, event_id) for kind, event_id, _ in bench.link.images] == [("image", "e1"), ("heatmap", "e1")]
    assert committed == [1, 1]


def test_pictures_wait_with_their_alert_for_the_outbox() -> None:
    bench = Bench()
    bench.alerts.failing = OSError("disk full")
    bench.tell(OPENED)
    bench.tell(replace(OPENED, id="e2"))
    assert bench.link.images == []
    bench.alerts.failing = None
    bench.reporter.settle()
    assert [(kind, event_id) for kind, event_id, _ in bench.link.images] == [("image", "e2"), ("heatmap", "e2")]
    bench.reporter.settle()
    assert len(bench.link.images) == 2


def test_an_alert_that_is_lost_has_no_pictures() -> None:
    bench = Bench()
    bench.alerts.failing = ValueError("too large")
    bench.tell(OPENED)
    bench.alerts.failing = None
    bench.reporter.settle()
    assert bench.link.images == []


def test_a_frame_too_large_for_the_topic_is_published_smaller_and_kept_as_it_is() -> None:
    bench = Bench()
    bench.tell(OPENED, pixels=noise(240, 640))

    _, image, _, _ = bench.evidence.frames["e1"]
    published = bench.link.images[0][2]
    assert len(image) > MAX_IMAGE_BYTES >= len(published)
    assert decode_jpeg(image).shape == (240, 640, 3)


def test_only_the_first_alert_of_an_event_has_pictures() -> None:
    bench = Bench()
    event = bench.tell(replace(OPENED, kind=EventKind.ANOMALY_UPDATE, life=Life.UPDATE))
    assert (event.snapshot, bench.link.images, bench.evidence.frames) == (None, [], {})
    assert event.text.startswith("something strange")


def test_events_of_one_frame_share_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = frame_account.encode_jpeg
    monkeypatch.setattr(frame_account, "encode_jpeg", lambda *given: (encoded.append(1), encode(*given))[1])
    bench = Bench()
    bench.tell(OPENED, replace(OPENED, id="e2"))
    assert (set(bench.evidence.frames), len(encoded)) == ({"e1", "e2"}, 2)
    bench.tell(replace(OPENED, id="e3"))
    assert len(encoded) == 4


def test_a_fault_of_the_camera_has_an_image_and_no_heatmap() -> None:
    bench = Bench()
    event = bench.tell(COVERED, region=None)
    assert [kind for kind, _, _ in bench.link.images] == ["image"]
    assert event.snapshot == "e1.jpg"
    assert bench.evidence.frames["e1"][2:] == (None, None)


def test_without_a_map_nothing_is_noted_of_its_scale() -> None:
    bench = Bench()
    bench.tell(COVERED, region=None, map=None)
    note = bench.evidence.frames["e1"][0]
    assert (note.median, note.threshold) == (None, None)


def test_a_fault_beside_an_anomaly_of_the_same_frame_takes_no_heatmap_from_it() -> None:
    bench = Bench()
    bench.tell(OPENED, replace(COVERED, id="e2"))
    assert [(kind, event_id) for kind, event_id, _ in bench.link.images] == [
        ("image", "e1"),
        ("heatmap", "e1"),
        ("image", "e2"),
    ]
    assert bench.evidence.frames["e2"][2] is None


@pytest.mark.parametrize(
    ("transition", "pixels"),
    [
        (replace(COVERED, fault=Fault.NO_DATA), None),
        (replace(COVERED, kind=EventKind.MODEL_FAULT, fault=Fault.MODEL), np.zeros((48, 64, 3), np.uint8)),
    ],
)
def test_a_fault_that_no_picture_explains_has_none(transition: Transition, pixels: Pixels | None) -> None:
    bench = Bench()
    event = bench.tell(transition, region=None, pixels=pixels)
    assert (event.snapshot, bench.link.images) == (None, [])


def test_a_fault_after_the_last_frame_does_not_show_that_frame() -> None:
    bench = Bench()
    bench.tell(region=None)
    gone = replace(COVERED, fault=Fault.NO_DATA)
    bench.reporter.decided(None, [Decision(t_ns=EPOCH_NS + 1, anomaly=None, fault=Fault.NO_DATA, transitions=(gone,))])
    assert (bench.alerts.events[-1].snapshot, bench.link.images) == (None, [])


def test_a_frame_without_a_map_has_an_image_alone() -> None:
    bench = Bench()
    bench.tell(OPENED, map=None)
    assert [kind for kind, _, _ in bench.link.images] == ["image"]


@pytest.mark.parametrize("error", [OSError("disk full"), MemoryError(), ValueError("id")])
def test_evidence_that_fails_never_stops_an_alert(error: Exception) -> None:
    bench = Bench()
    bench.evidence.failing = error
    event = bench.tell(OPENED)
    assert (event.event_type, event.snapshot) == ("anomaly", None)
    assert event.text.startswith("something strange")


def test_without_opencv_the_alert_has_no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("no cv2")

    monkeypatch.setattr("edge_agent.vision.pictures.opencv", missing)
    bench = Bench()
    assert bench.tell(OPENED).snapshot is None
    assert bench.link.images == []
