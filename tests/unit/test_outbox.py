from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.alerts.failover import DELETE_AT_ONCE
from edge_agent.alerts.outbox import HEAL_S, Outbox
from edge_agent.alerts.settings import OutboxSettings
from edge_agent.alerts.store import Record, Store
from edge_agent.contract.wire import Severity
from tests.alert_payloads import DEVICE, alert
from tests.virtual_clock import VirtualClock

STREAMS = ("pump", "fan")


class Boxes:
    """Opens the same outbox again and again, as an agent that restarts."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.clock = VirtualClock()
        self.opened: list[Outbox] = []

    def open(self, **limits: float) -> Outbox:
        box = Outbox(self.path, OutboxSettings(**limits), self.clock, device=DEVICE, streams=STREAMS)
        self.opened.append(box)
        return box


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    made = Boxes(tmp_path)
    yield made
    for box in made.opened:
        box.close()


def ids(records: list[Record]) -> list[str]:
    return [json.loads(record.body)["id"] for record in records]


def drain(box: Outbox) -> list[dict[str, object]]:
    """Take everything out, as a broker would."""
    found = []
    while records := box.pending(100):
        found += [json.loads(record.body) for record in records]
        box.acknowledge([record.key for record in records])
    return found


def reported(events: list[dict[str, object]]) -> set[int]:
    """Return the numbers that reports among the events say were dropped."""
    numbers: set[int] = set()
    for event in events:
        if event["event_type"] == "outbox_overflow":
            for first, last in event["dropped"]["ranges"]:  # type: ignore[index]
                numbers.update(range(first, last + 1))
    return numbers


def test_alerts_come_out_in_the_order_they_went_in_with_numbers_from_one(boxes: Boxes) -> None:
    box = boxes.open()
    for name in "abc":
        box.put(alert(name))

    records = box.pending(10)

    assert ids(records) == ["a", "b", "c"]
    assert [json.loads(record.body)["seq"] for record in records] == [1, 2, 3]
    assert {json.loads(record.body)["session"] for record in records} == {box.session}


def test_an_alert_stays_until_it_is_acknowledged(boxes: Boxes) -> None:
    box = boxes.open()
    first, second = box.put(alert("a")), box.put(alert("b"))

    box.acknowledge([first.key])

    assert ids(box.pending(10)) == ["b"]
    assert box.stats().depth == 1
    box.acknowledge([second.key, ("unknown", 99)])
    assert box.pending(10) == []


def test_what_is_on_its_way_or_blocked_is_left_out(boxes: Boxes) -> None:
    box = boxes.open()
    first = box.put(alert("a"))
    box.put(alert("b", stream="fan"))
    box.put(alert("c"))

    assert ids(box.pending(1, skip={first.key})) == ["b"]
    assert ids(box.pending(9, skip={first.key}, blocked={"fan"})) == ["c"]


def test_after_a_restart_the_same_alerts_come_with_the_same_numbers(boxes: Boxes) -> None:
    before = boxes.open()
    before.put(alert("a"))
    kept = before.pending(1)[0]
    session = before.session

    after = boxes.open()
    after.put(alert("b"))

    assert after.session == session
    assert after.pending(1)[0].body == kept.body
    assert [record.seq for record in after.pending(9)] == [1, 2]


def test_delivered_alerts_are_deleted_from_disk_when_nothing_is_left_to_send(boxes: Boxes) -> None:
    box = boxes.open()
    box.acknowledge([box.put(alert("a")).key])
    assert box.pending(1) == []

    again = Store(boxes.path, 1 << 20)
    assert again.depth() == 0
    again.close()


def test_open_events_are_saved_with_the_alert(boxes: Boxes) -> None:
    box = boxes.open()
    box.put(alert("a"), open_events=[{"id": "a", "t_ns": 7}])
    box.put(alert("b", stream="fan"), open_events=[])

    after = boxes.open()

    assert after.open_events("pump") == [{"id": "a", "t_ns": 7}]
    assert after.open_events("fan") == []
    assert after.open_events("never") == []


def test_a_commit_is_synced_to_disk_before_it_returns(boxes: Boxes) -> None:
    box = boxes.open()
    assert box._ledgers.disk
    database = box._ledgers.disk.store._db

    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_alert_and_open_events_are_committed_together_or_not_at_all(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = boxes.open()
    box.put(alert("a"), open_events=[{"id": "a"}])

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_state", fail)
    with pytest.raises(KeyboardInterrupt):
        box.put(alert("b"), open_events=[{"id": "b"}])
    monkeypatch.undo()

    after = boxes.open()
    assert ids(after.pending(9)) == ["a"]
    assert after.open_events("pump") == [{"id": "a"}]
    assert after.put(alert("c")).seq == 2


def test_open_events_without_bound_are_refused(boxes: Boxes) -> None:
    with pytest.raises(ValueError, match="open events of a stream have at most"):
        boxes.open().put(alert(), open_events=[{"x": "y" * 70_000}])


def test_each_commit_tells_the_link(boxes: Boxes) -> None:
    box, told = boxes.open(), []
    box.notify = lambda: told.append(box.stats().depth)

    box.put(alert())

    assert told == [1]


def test_the_time_from_decision_to_commit_is_measured(boxes: Boxes) -> None:
    box = boxes.open()
    box.put(alert(), decided_ns=boxes.clock.monotonic_ns() - 5_000_000)

    assert box.stats().commit_p50_ms == 5.0
    assert box.stats().commit_p99_ms == 5.0


CAPACITY = 220
"""Alerts as large as `fill` makes them, one a page, that 1 MiB holds."""


def fill(box: Outbox, count: int, severity: Severity = Severity.WARNING, stream: str = "pump") -> None:
    for index in range(count):
        box.put(alert(f"{severity}-{index}", severity=severity, stream=stream, text="x" * 1000, detail="y" * 1000))


def test_a_full_outbox_stays_below_its_limit_and_reports_every_drop(boxes: Boxes) -> None:
    box = boxes.open(max_mib=1)
    fill(box, 2 * CAPACITY)

    stats = box.stats()
    size = sum(path.stat().st_size for path in boxes.path.parent.glob("outbox.db*") if "reserve" not in path.name)
    events = drain(box)
    delivered = {event["seq"] for event in events}

    assert stats.bytes <= 1 << 20
    assert size <= 2.2 * (1 << 20)
    assert stats.dropped > CAPACITY / 2
    assert delivered | reported(events) == set(range(1, max(delivered) + 1))  # type: ignore[type-var]
    assert not delivered & reported(events)


def test_the_oldest_goes_first_and_an_outage_makes_few_reports(boxes: Boxes) -> None:
    box = boxes.open(max_mib=1)
    fill(box, 2 * CAPACITY)

    events = drain(box)
    ids_left = [event["id"] for event in events if event["event_type"] == "anomaly"]
    reports = [event for event in events if event["event_type"] == "outbox_overflow"]

    assert ids_left == [f"warning-{index}" for index in range(2 * CAPACITY - len(ids_left), 2 * CAPACITY)]
    assert len(reports) == 1
    assert reports[0]["reason"] == "full"
    assert reports[0]["dropped"]["count"] == 2 * CAPACITY - len(ids_left)  # type: ignore[index]


def test_the_least_severe_goes_first(boxes: Boxes) -> None:
    box = boxes.open(max_mib=1)
    fill(box, 20, Severity.CRITICAL)
    fill(box, CAPACITY, Severity.INFO)
    fill(box, 100, Severity.WARNING)

    left = [event["severity"] for event in drain(box) if event["event_type"] == "anomaly"]

    assert left.count("critical") == 20
    assert left.count("warning") == 100
    assert 0 < left.count("info") < CAPACITY - 100


def test_what_matters_less_than_all_that_wait_is_itself_dropped_and_reported(boxes: Boxes) -> None:
    box = boxes.open(max_mib=1)
    fill(box, CAPACITY + 20, Severity.CRITICAL)
    criticals = sum(event["severity"] == "critical" for event in (json.loads(r.body) for r in box.pending(10_000)))
    fill(box, 10, Severity.INFO)
    last = box.put(alert("minor", severity=Severity.INFO, text="x" * 1000), open_events=[{"id": "minor"}])

    events = drain(box)

    assert sum(event["severity"] == "critical" for event in events) == criticals
    assert last.seq in reported(events)
    assert box.open_events("pump") == [{"id": "minor"}]


def test_a_report_that_was_handed_out_is_never_changed(boxes: Boxes) -> None:
    box = boxes.open(max_mib=1)
    fill(box, CAPACITY + 30)
    handed = {record.key: record.body for record in box.pending(10_000)}
    fill(box, CAPACITY)

    events = drain(box)
    same = [e for e in events if (e["session"], e["seq"]) in handed and e["event_type"] == "outbox_overflow"]

    assert len([event for event in events if event["event_type"] == "outbox_overflow"]) == 2
    assert [json.dumps(e, separators=(",", ":")).encode() for e in same] == [
        handed[e["session"], e["seq"]]  # type: ignore[index]
        for e in same
    ]
    delivered = {event["seq"] for event in events}
    assert delivered | reported(events) == set(range(1, max(delivered) + 1))  # type: ignore[type-var]


def test_delivered_alerts_leave_the_disk_in_one_commit(boxes: Boxes) -> None:
    box = boxes.open()
    keys = [box.put(alert(str(number))).key for number in range(DELETE_AT_ONCE)]
    statements: list[str] = []
    box._ledgers.disk.store._db.set_trace_callback(statements.append)

    box.acknowledge(keys)

    assert (statements[0], statements[-1], statements.count("COMMIT")) == ("BEGIN IMMEDIATE", "COMMIT", 1)
    assert boxes.open().pending(1) == []


def test_drops_of_each_stream_are_reported_on_that_stream(boxes: Boxes) -> None:
    box = boxes.open(max_mib=1)
    fill(box, CAPACITY, stream="fan")
    fill(box, CAPACITY + 50, stream="pump")

    reports = [event for event in drain(box) if event["event_type"] == "outbox_overflow"]

    assert {report["stream"] for report in reports} == {"fan", "pump"}


def test_what_is_too_old_is_dropped_and_reported(boxes: Boxes) -> None:
    box = boxes.open(max_age_days=14)
    box.put(alert("old"))
    boxes.clock.sleep(13.9 * 86400)
    box.put(alert("young"))
    assert ids(box.pending(9)) == ["old", "young"]

    boxes.clock.sleep(0.2 * 86400)
    events = drain(box)

    assert [event["id"] for event in events if event["event_type"] == "anomaly"] == ["young"]
    assert reported(events) == {1}
    assert [event["reason"] for event in events if event["event_type"] == "outbox_overflow"] == ["age"]


def test_a_report_that_is_dropped_hands_on_what_it_reported(boxes: Boxes) -> None:
    box = boxes.open(max_age_days=14)
    lost = box.put(alert("lost"))
    box.give_up(lost.key, "refused")
    boxes.clock.sleep(15 * 86400)

    events = drain(box)

    assert [(event["seq"], event["reason"]) for event in events] == [(3, "age"), (4, "refused")]
    assert reported(events[:1]) == {2}
    assert reported(events[1:]) == {lost.seq}


def test_an_alert_made_before_the_clock_was_set_is_not_too_old_when_it_is(boxes: Boxes) -> None:
    boxes.clock.utc_ns = 0
    box = boxes.open()
    box.put(alert("early"))
    boxes.clock.utc_ns = VirtualClock().utc_ns
    boxes.clock.sleep(HEAL_S + 1)

    assert ids(box.pending(9)) == ["early"]


def test_a_poison_alert_is_given_up_with_a_report(boxes: Boxes) -> None:
    box = boxes.open()
    poison, good = box.put(alert("poison")), box.put(alert("good"))

    box.give_up(poison.key, "packet too large")
    box.give_up(("unknown", 1), "nothing")

    events = drain(box)
    assert events[0]["id"] == "good"
    assert good.seq == 2
    assert events[1]["reason"] == "refused"
    assert "packet too large" in str(events[1]["text"])
    assert reported(events) == {poison.seq}


@pytest.mark.parametrize("damage", [b"this is no database" * 300, b""])
def test_a_damaged_database_is_set_aside_reported_and_a_fresh_one_begun(boxes: Boxes, damage: bytes) -> None:
    before = boxes.open()
    before.put(alert("lost"))
    session = before.session
    before.close()
    boxes.path.write_bytes(damage + boxes.path.read_bytes()[len(damage) :] if damage else b"SQLite format 3\x00")

    box = boxes.open()
    box.put(alert("new"))
    events = drain(box)

    assert box.session != session
    assert [(e["event_type"], e["stream"], e["reason"]) for e in events[:2]] == [
        ("outbox_overflow", "pump", "corrupt"),
        ("outbox_overflow", "fan", "corrupt"),
    ]
    assert events[2]["id"] == "new"
    assert boxes.path.with_name("outbox.db.damaged").exists()
    assert "damaged" in box.stats().problem
    assert box.stats().mode == "disk"


def test_damage_while_running_is_noticed_and_the_new_alert_is_kept(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = boxes.open()
    box.put(alert("lost"))
    insert, error = Store.insert, sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX

    def malformed(store: Store, record: Record) -> None:
        monkeypatch.setattr(Store, "insert", insert)
        raise error

    monkeypatch.setattr(Store, "insert", malformed)
    box.put(alert("new"))
    events = drain(box)

    assert [event["reason"] for event in events] == ["corrupt", "corrupt", ""]
    assert events[-1]["id"] == "new"
    assert box.stats().mode == "disk"


def test_a_database_of_a_newer_agent_is_set_aside(boxes: Boxes) -> None:
    boxes.open().close()
    database = sqlite3.connect(boxes.path)
    database.execute("PRAGMA user_version = 99")
    database.close()

    box = boxes.open()

    assert "version 99" in box.stats().problem
    assert box.put(alert()).seq == 3


def test_without_a_folder_to_write_alerts_wait_in_memory_and_move_to_disk_when_it_heals(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    clock = VirtualClock()
    box = Outbox(tmp_path / "state" / "outbox.db", OutboxSettings(), clock, device=DEVICE)
    first = box.put(alert("a"), open_events=[{"id": "a"}])
    assert box.stats().mode == "ram"
    assert "memory" in box.stats().problem
    assert ids(box.pending(9)) == ["a"]

    (tmp_path / "state").unlink()
    clock.sleep(HEAL_S + 1)
    second = box.put(alert("b"))
    assert box.stats().mode == "disk"
    assert box.stats().problem == ""
    box.close()

    again = Outbox(tmp_path / "state" / "outbox.db", OutboxSettings(), clock, device=DEVICE)
    assert [record.key for record in again.pending(9)] == [first.key, second.key]
    assert first.session != second.session
    assert again.open_events("pump") == [{"id": "a"}]
    again.close()


def break_disk(box: Outbox) -> None:
    """Let every further transaction of the open database fail, as an SD card that has gone read-only does."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR

    def transaction() -> None:
        raise error

    box._ledgers.disk.store.transaction = transaction


def test_open_events_saved_in_memory_are_newer_than_those_on_disk(boxes: Boxes) -> None:
    box = boxes.open()
    box.put(alert("opened"), open_events=[{"id": "a"}])
    break_disk(box)
    box.put(alert("closed"), open_events=[])
    assert (box.stats().mode, box.open_events("pump")) == ("ram", [])

    boxes.clock.sleep(HEAL_S + 1)
    assert box.stats().mode == "disk"
    assert boxes.open().open_events("pump") == []


def test_what_is_given_up_while_the_disk_fails_does_not_come_back_when_it_heals(boxes: Boxes) -> None:
    box = boxes.open()
    poison = box.put(alert("poison"))
    break_disk(box)
    box.give_up(poison.key, "too large")
    assert [reported([json.loads(record.body)]) for record in box.pending(9)] == [{poison.seq}]

    boxes.clock.sleep(HEAL_S + 1)
    assert [reported([json.loads(record.body)]) for record in box.pending(9)] == [{poison.seq}]
    assert (box.stats().mode, box.stats().depth) == ("disk", 1)


def test_memory_is_bounded_too(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    box = Outbox(tmp_path / "state" / "outbox.db", OutboxSettings(max_mib=1), VirtualClock(), device=DEVICE)
    fill(box, 2 * CAPACITY)

    events = drain(box)

    assert box.stats().dropped > CAPACITY / 2
    assert {event["seq"] for event in events} | reported(events) == set(range(1, 2 * CAPACITY + 2))


def test_an_alert_larger_than_a_payload_is_refused(boxes: Boxes) -> None:
    with pytest.raises(ValueError, match="at most"):
        boxes.open().put(replace(alert(), boot_id="x" * 70_000))


def test_many_threads_lose_nothing(boxes: Boxes) -> None:
    box = boxes.open()
    threads = [
        threading.Thread(target=lambda n=n: [box.put(alert(f"{n}-{i}")) for i in range(25)])  # type: ignore[misc]
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    taken = []
    while any(thread.is_alive() for thread in threads) or box.stats().depth:
        taken += drain(box)

    assert sorted(event["seq"] for event in taken) == list(range(1, 201))  # type: ignore[type-var]
    for name in range(8):
        of_thread = [event["id"] for event in taken if str(event["id"]).startswith(f"{name}-")]
        assert of_thread == [f"{name}-{index}" for index in range(25)]
