"""Objects: one object is one event with one id, several at once, whatever the order of the regions."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.decision import DecisionRule, OpenEvent
from edge_agent.contract.records import NS, Fault, Unknown
from edge_agent.contract.zones import Zone
from edge_agent.vision.objects import MOST_OBJECTS, ObjectDecision, Objects, similarity
from edge_agent.vision.regions import MOST_REGIONS, Region

RULE = DecisionRule(hold_off_s=5.0)
DOOR = Zone(name="door", polygon=((0.5, 0.0), (1.0, 0.0), (1.0, 1.0)), factor=3.0)


def calibrated() -> Calibration:
    """Median 0, threshold 10."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    return calibrate(np.linspace(-1, 1, 100), t_ns, alarms_per_day=1, n=3, m=5, join_s=1, k=1).with_threshold(10.0)


def region(x: float, y: float = 0.5, *, size: float = 0.1, **given: object) -> Region:
    box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
    return Region(**({"box": box, "score": 20.0, "area": size**2} | given))


class Watch:
    """Feeds frames, one a second, and keeps what was told: (id, life, x of the object)."""

    def __init__(self, zones: tuple[Zone, ...] = (), prefix: str = "event") -> None:
        ids = (f"{prefix}-{number}" for number in itertools.count(1))
        self.objects = Objects(RULE, calibrated(), 1.0, lambda: next(ids), zones=zones)
        self.t_ns = 1_000 * NS
        self.told: list[tuple[str, str, float]] = []

    def see(self, *regions: Region) -> list[ObjectDecision]:
        self.t_ns += NS
        decided = self.objects.update(self.t_ns, regions)
        for each in decided:
            middle = round((each.region.box[0] + each.region.box[2]) / 2, 3)
            self.told += [(one.id, one.life.value, middle) for one in each.decision.transitions]
        return decided


def test_an_object_that_moves_is_one_event_with_one_id() -> None:
    watch = Watch()
    for i in range(20):
        watch.see(region(0.1 + 0.04 * i))
    for _ in range(10):
        watch.see()
    assert watch.told == [("event-1", "open", 0.18), ("event-1", "close", 0.86)]


def test_two_objects_at_once_are_two_events_in_whatever_order_they_come() -> None:
    watch = Watch()
    for i in range(8):
        both = [region(0.2 + 0.02 * i), region(0.8 - 0.02 * i, 0.2)]
        watch.see(*both[:: 1 if i % 2 else -1])
    assert sorted(each.id for each in watch.objects.open_events()) == ["event-1", "event-2"]
    assert [life for _, life, _ in watch.told] == ["open", "open"]


def test_objects_that_pass_each_other_keep_their_ids_by_their_features() -> None:
    watch = Watch()
    for i in range(17):
        red, blue = region(0.1 + 0.05 * i, features=(0.0, 5.0)), region(0.9 - 0.05 * i, features=(5.0, 0.0))
        watch.see(*([red, blue] if i % 2 else [blue, red]))
    opened = {one_id: x for one_id, _, x in watch.told}
    now = {each.id: each.box[0] for each in watch.objects.open_events()}
    assert sorted(opened) == sorted(now) == ["event-1", "event-2"]
    assert all((opened[one_id] < 0.5) == (now[one_id] > 0.5) for one_id in opened)


def test_the_pairing_is_the_best_in_all_not_the_most_similar_pair_first() -> None:
    watch = Watch()
    for _ in range(4):
        watch.see(region(0.40), region(0.50))
    before = {each.id: each.box[0] for each in watch.objects.open_events()}
    alike = similarity([region(0.40), region(0.50)], [region(0.48), region(0.58)])
    assert np.argmax(alike) == 2
    watch.see(region(0.48), region(0.58))
    after = {each.id: each.box[0] for each in watch.objects.open_events()}
    assert after == {one_id: pytest.approx(x + 0.08) for one_id, x in before.items()}


def test_an_object_far_away_is_another_one() -> None:
    watch = Watch()
    for x in (0.1, 0.1, 0.1, 0.9, 0.9, 0.9):
        watch.see(region(x))
    assert [(one_id, life) for one_id, life, _ in watch.told] == [("event-1", "open"), ("event-2", "open")]


def test_a_part_that_comes_apart_belongs_to_its_object_for_as_long_as_it_is_near() -> None:
    watch = Watch()
    body, head = region(0.5, 0.7, size=0.4), region(0.5, 0.42, score=30.0)
    for _ in range(4):
        watch.see(region(0.5, 0.6, size=0.5))
    for _ in range(20):
        (one,) = watch.see(body, head)
    assert watch.told == [("event-1", "open", 0.5)]
    assert one.region.box == pytest.approx((0.3, 0.37, 0.7, 0.9))
    assert (one.region.score, one.region.area) == (30.0, pytest.approx(0.17))


def test_an_object_is_of_the_kind_of_its_strongest_region_while_its_event_is_open() -> None:
    watch, told = Watch(), []
    for score, kind in ((50, "dent"), (20, "dent"), (21, "scratch"), (15, "dent"), (20, "dent"), (30, "hole")):
        (one,) = watch.see(region(0.5, score=float(score), kind=kind, kind_score=score / 100))
        told.append((one.region.kind, one.region.kind_score))
    assert watch.told == [("event-1", "open", 0.5)]
    assert told[2:] == [("scratch", 0.21), ("scratch", 0.21), ("scratch", 0.21), ("hole", 0.3)]


def test_an_event_keeps_its_kind_over_a_restart_until_a_stronger_region_says_another() -> None:
    before, after = Watch(), Watch()
    for _ in range(3):
        before.see(region(0.5, score=40.0, kind="dent", kind_score=0.8))
    stored = json.dumps([strict_json.plain(each) for each in before.objects.open_events()])
    after.objects.restore(strict_json.read(OpenEvent, each, "event") for each in json.loads(stored))
    told = [after.see(region(0.5, score=score, kind="scratch", kind_score=0.6)) for score in (30.0, 50.0)]
    assert [(one.region.kind, one.region.kind_score) for (one,) in told] == [("dent", 0.8), ("scratch", 0.6)]


def test_what_comes_after_the_event_of_an_object_has_a_kind_of_its_own() -> None:
    watch = Watch()
    for _ in range(3):
        watch.see(region(0.5, score=50.0, kind="dent"))
    for _ in range(9):
        (one, *_) = watch.see() or [None]
    for _ in range(3):
        (one,) = watch.see(region(0.5, kind="scratch"))
    assert [life for _, life, _ in watch.told] == ["open", "close", "open"]
    assert one.region.kind == "scratch"


def test_an_object_of_several_parts_is_of_the_kind_of_the_strongest() -> None:
    watch = Watch()
    watch.see(region(0.5, 0.6, size=0.5))
    (one,) = watch.see(
        region(0.5, 0.7, size=0.4, kind="dent"), region(0.5, 0.42, score=30.0, kind="scratch", kind_score=0.9)
    )
    assert (one.region.kind, one.region.kind_score) == ("scratch", 0.9)


def test_a_part_that_goes_away_becomes_an_object_of_its_own() -> None:
    watch = Watch()
    for _ in range(4):
        watch.see(region(0.4, size=0.4))
    for i in range(12):
        watch.see(region(0.4, size=0.4), region(0.5 + 0.03 * i))
    assert [one_id for one_id, _, _ in watch.told] == ["event-1", "event-2"]
    (_, (_, _, x)) = watch.told
    assert x > 0.65


def test_what_comes_up_beside_an_object_is_no_part_of_it() -> None:
    watch = Watch()
    for _ in range(4):
        watch.see(region(0.4, size=0.4), region(0.66))
    assert [one_id for one_id, _, _ in watch.told] == ["event-1", "event-2"]
    for _ in range(4):
        watch.see(region(0.4, size=0.4), region(0.66), region(0.14))
    assert [one_id for one_id, _, _ in watch.told] == ["event-1", "event-2", "event-3"]


def test_one_odd_frame_opens_nothing_and_is_forgotten() -> None:
    watch = Watch()
    watch.see(region(0.5))
    for _ in range(RULE.m):
        decided = watch.see()
    assert watch.told == []
    assert len(decided) == 1
    assert watch.see() == []


def test_an_object_hidden_for_a_moment_keeps_its_event() -> None:
    watch = Watch()
    for seen in (1, 1, 1, 0, 0, 0, 1, 1, 1):
        assert len(watch.see(*[region(0.5)] * seen)) == 1
    assert watch.told == [("event-1", "open", 0.5)]


def test_a_zone_decides_by_its_own_threshold() -> None:
    watch = Watch(zones=(DOOR,))
    for _ in range(5):
        watch.see(region(0.2, score=20.0), region(0.8, score=20.0, zone="door"))
    assert watch.told == [("event-1", "open", 0.2)]
    for _ in range(5):
        watch.see(region(0.8, score=40.0, zone="door"))
    assert watch.told[1] == ("event-2", "open", 0.8)


def test_an_object_that_enters_a_zone_is_decided_by_it_from_then_on() -> None:
    watch = Watch(zones=(DOOR,))
    watch.see(region(0.48))
    watch.see(region(0.5))
    for _ in range(5):
        watch.see(region(0.52, zone="door"))
    assert watch.told == []


def test_a_stretch_without_frames_is_neither_an_event_of_an_object_nor_its_end() -> None:
    watch = Watch()
    for _ in range(3):
        watch.see(region(0.5))
    watch.objects.unknown(Unknown(t_ns=watch.t_ns + NS, fault=Fault.CAMERA, detail="covered"))
    watch.t_ns += 3600 * NS
    for _ in range(10):
        watch.see(region(0.5))
        assert len(watch.objects.open_events()) == 1
    assert watch.told == [("event-1", "open", 0.5)]


def test_votes_from_before_an_unknown_stretch_do_not_count() -> None:
    watch = Watch()
    watch.see(region(0.5))
    watch.see(region(0.5))
    watch.objects.unknown(Unknown(t_ns=watch.t_ns, fault=Fault.NO_DATA))
    watch.see(region(0.5))
    assert watch.told == []


def test_after_a_restart_an_object_where_it_was_goes_on_and_one_that_left_is_closed() -> None:
    watch = Watch()
    for _ in range(3):
        watch.see(region(0.2), region(0.8))
    stored = json.dumps([strict_json.plain(each) for each in watch.objects.open_events()])
    again = Watch(prefix="later")
    again.objects.restore(strict_json.read(OpenEvent, each, "event") for each in json.loads(stored))
    for _ in range(10):
        decided = again.see(region(0.22))
    assert again.told == [("event-2", "close", 0.8)]
    assert [each.decision.anomaly for each in decided] == [True]


def test_a_step_of_an_event_tells_where_its_object_is() -> None:
    watch = Watch()
    steps = [step for _ in range(3) for each in watch.see(region(0.2)) for step in each.decision.transitions]
    assert [step.box for step in steps] == [region(0.2).box]


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 1.0), (0.5, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 1.2), (0.0, float("nan"), 1.0, 1.0)]
)
def test_a_stored_box_that_is_none_is_refused(box: tuple[float, ...]) -> None:
    watch = Watch()
    for _ in range(3):
        watch.see(region(0.2))
    (stored,) = watch.objects.open_events()
    with pytest.raises(ValueError, match="box"):
        replace(stored, box=box)


def test_hundreds_of_regions_are_bounded() -> None:
    watch = Watch()
    rng = np.random.default_rng(0)
    for i in range(6):
        decided = watch.see(*(region(x, y, size=0.01) for x, y in rng.uniform(0.1, 0.9, (300, 2))))
        assert len(decided) <= (MOST_REGIONS if i == 0 else MOST_OBJECTS)


class Line(Watch):
    """Each frame shows another part: 1 of 1 frames, no hold-off."""

    def __init__(self) -> None:
        super().__init__()
        rule, ids = DecisionRule(n=1, m=1, hold_off_s=0.0), itertools.count(1)
        t_ns = np.arange(100, dtype=np.int64) * NS
        usual = calibrate(np.linspace(-1, 1, 100), t_ns, alarms_per_day=1, n=1, m=1, join_s=0, k=1)
        self.objects = Objects(rule, usual.with_threshold(10.0), 1.0, lambda: f"part-{next(ids)}")


def test_each_defective_part_of_a_line_is_an_event_wherever_its_defect_is() -> None:
    line = Line()
    for defects in ([region(0.5)], [region(0.5)], [], [region(0.5), region(0.1)], []):
        line.see(*defects)
    lives = [(one_id, life) for one_id, life, _ in line.told]
    assert lives == [
        ("part-1", "open"),
        ("part-1", "close"),
        ("part-2", "open"),
        ("part-2", "close"),
        ("part-3", "open"),
        ("part-4", "open"),
        ("part-3", "close"),
        ("part-4", "close"),
    ]
    assert line.objects.open_events() == []


def test_frames_that_come_faster_than_parts_show_one_part() -> None:
    line = Line()
    for _ in range(20):
        line.objects.update(line.t_ns, [region(0.5)])
        line.t_ns += NS // 10
    assert [each.id for each in line.objects.open_events()] == ["part-1"]


def test_a_part_from_before_a_restart_or_a_fault_has_passed() -> None:
    line = Line()
    line.see(region(0.5))
    line.objects.unknown(Unknown(t_ns=line.t_ns, fault=Fault.CAMERA, detail="dark"))
    later = Line()
    later.objects.restore(line.objects.open_events())
    for each in (line, later):
        (gone,) = each.see()
        assert [(one.id, one.life.value) for one in gone.decision.transitions] == [("part-1", "close")]


def test_similarity_is_one_for_the_same_and_falls_with_way_and_size() -> None:
    others = [region(0.5), region(0.55), region(0.5, size=0.2), region(0.9)]
    ((same, moved, grown, away),) = similarity([region(0.5)], others).tolist()
    assert same == pytest.approx(1.0)
    assert away < moved < 1
    assert 0 < grown < 1
    assert away < 0.01


def test_an_object_that_changes_its_colour_stays_the_same_object() -> None:
    watch = Watch()
    for i in range(8):
        watch.see(region(0.2 + 0.05 * i, features=(9.0 * (i > 3),)))
    assert [life for _, life, _ in watch.told] == ["open"]


def test_a_calibration_for_another_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="calibrated for"):
        Objects(DecisionRule(n=1, m=1, hold_off_s=1.0), calibrated(), 1.0, lambda: "id")
