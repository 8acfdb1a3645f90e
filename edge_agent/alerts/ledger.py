"""One database of waiting alerts and its limits: what is committed, what is dropped for it, and the report of that.

Every method is one transaction: alert, drops, report and open events are all there or none of it is. A report is
extended while nobody has seen it (`close_reports`), so a long outage makes one report a stream and not one a drop.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from edge_agent.alerts.overflow import DropReason, Ranges, Reporter
from edge_agent.alerts.store import PAGE_BYTES, Key, Record, Store
from edge_agent.contract.records import EventKind
from edge_agent.contract.wire import EventPayload, to_json
from edge_agent.ports import Clock

RESERVED_PAGES = 32
"""Pages of the limit that alerts never take (128 KiB): reports, open events and rebalanced trees go there."""

_EXPIRE_AT_ONCE = 200
"""Old alerts dropped in one transaction, which bounds the log."""

Topic = tuple[str, str, DropReason]
"""What one report is about: stream, session, why."""


@dataclass(slots=True)
class _Report:
    """An `outbox_overflow` event that nobody has seen yet."""

    key: Key
    ranges: Ranges = field(default_factory=Ranges)


class Ledger:
    """The policy on one store. Not thread-safe: the outbox holds the lock."""

    def __init__(self, store: Store, clock: Clock, reporter: Reporter, run: str) -> None:
        """Take the store, the clock for stamps, who writes reports, and the name of this life of the agent."""
        self.store = store
        self.dropped = 0
        """Alerts dropped so far, in this life."""
        self._clock, self._reporter, self._run = clock, reporter, run
        self._reports: dict[Topic, _Report] = {}

    def commit(self, event: EventPayload, opened: str | None) -> tuple[Record, bool]:
        """Commit an alert with its stream's open events; False beside it when it is itself what was dropped."""
        drops = _Drops()
        with self.store.transaction():
            kept = self._make_room(len(to_json(event)), event.severity.rank, drops)
            record = self._number(event)
            if kept:
                self.store.insert(record)
            else:
                drops.add(record, DropReason.FULL)
            if opened is not None:
                self.store.write_state(f"open/{event.stream}", opened)
            reports = self._report(drops)
        self._settle(drops, reports)
        return record, kept

    def forget(self, keys: Collection[Key]) -> None:
        """Delete what was delivered."""
        with self.store.transaction():
            self.store.delete(keys)

    def drop(self, records: Iterable[Record], reason: DropReason, detail: str = "") -> None:
        """Drop alerts and report them."""
        drops = _Drops()
        with self.store.transaction():
            for record in records:
                self.store.delete([record.key])
                drops.add(record, reason)
            reports = self._report(drops, detail)
        self._settle(drops, reports)

    def expire(self, before_ns: int) -> None:
        """Drop what was committed before a moment (UTC); reports stay."""
        while old := self.store.put_before(before_ns, _EXPIRE_AT_ONCE):
            self.drop(old, DropReason.AGE)

    def close_reports(self, keys: Iterable[Key]) -> None:
        """Take note that alerts were handed out: a report among them is never changed again."""
        seen = set(keys)
        self._reports = {topic: report for topic, report in self._reports.items() if report.key not in seen}

    def _make_room(self, size: int, rank: int, drops: _Drops) -> bool:
        """Drop until `size` bytes fit; False when all that is left matters more than `rank`."""
        needed = size // PAGE_BYTES + 4
        while self.store.used_pages() + needed > self.store.max_pages - RESERVED_PAGES:
            victim = self.store.expendable()
            if victim is None or (not victim.report and victim.rank > rank):
                return False
            drops.add(victim, DropReason.FULL)
            self.store.delete([victim.key])
        return True

    def _number(self, event: EventPayload) -> Record:
        """Give an event its place in the session."""
        session, seq = self.store.session, self.store.next_seq()
        return Record(
            session=session,
            seq=seq,
            stream=event.stream,
            report=event.event_type is EventKind.OUTBOX_OVERFLOW,
            rank=event.severity.rank,
            put_ns=self._clock.now_ns(),
            run=self._run,
            run_ns=self._clock.monotonic_ns(),
            body=to_json(replace(event, session=session, seq=seq)),
        )

    def _report(self, drops: _Drops, detail: str = "") -> dict[Topic, _Report]:
        """Write what was dropped into reports.

        Returns:
            Those that may still be extended, for when the transaction is committed.
        """
        reports = {topic: report for topic, report in self._reports.items() if report.key not in drops.keys}
        for topic, ranges in drops.by_topic.items():
            stream, session, reason = topic
            open_report = reports.get(topic)
            merged = Ranges(list(open_report.ranges.runs) if open_report and not open_report.ranges.is_full else [])
            for first, last in ranges.runs:
                merged.add(first, last)
            event = self._reporter.event(stream, merged.as_dropped(session), reason, detail)
            if open_report is not None and not open_report.ranges.is_full:
                key = open_report.key
                self.store.replace_body(key, to_json(replace(event, session=key[0], seq=key[1])))
            else:
                record = self._number(event)
                self.store.insert(record)
                key = record.key
            reports[topic] = _Report(key, merged)
        return reports

    def _settle(self, drops: _Drops, reports: dict[Topic, _Report]) -> None:
        self._reports = reports
        self.dropped += drops.count


class _Drops:
    """What one transaction drops. A dropped report hands on what it reported."""

    def __init__(self) -> None:
        self.by_topic: defaultdict[Topic, Ranges] = defaultdict(Ranges)
        self.keys: set[Key] = set()
        self.count = 0

    def add(self, record: Record, reason: DropReason) -> None:
        self.keys.add(record.key)
        self.count += 1
        self.by_topic[record.stream, record.session, reason].add(record.seq, record.seq)
        if record.report:
            told = json.loads(record.body)
            for first, last in told["dropped"]["ranges"]:
                topic = record.stream, told["dropped"]["session"], DropReason(told["reason"])
                self.by_topic[topic].add(first, last)
