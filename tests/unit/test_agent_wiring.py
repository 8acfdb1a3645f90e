"""The agent put together in this process, with a simulated pump that ends and a broker that is not there."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import agent as module
from edge_agent.agent import UNCLEAN_MARK, Agent, boot_id
from edge_agent.alerts.settings import MqttSettings
from edge_agent.config import Settings, StreamSettings
from edge_agent.contract.wire import HealthPayload, InfoPayload
from edge_agent.health.progress import Progress, Watchdog
from edge_agent.sources.synthetic import SyntheticSettings


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Turns without a pause, no wait for a broker that is not there; the signals of the test run stay as they are."""
    monkeypatch.setattr(module, "TURN_S", 0.01)
    monkeypatch.setattr(module, "STOP_S", 5.0)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def settings(folder: Path, bundle: Path | None, *, streams: int = 1, rows: int = 60) -> Settings:
    stream = StreamSettings(
        source=SyntheticSettings(rows=rows, speed=0, seed=5), bundle="" if bundle is None else str(bundle)
    )
    return Settings(
        device="bench",
        streams={f"pump{i}": stream for i in range(streams)},
        state_dir=str(folder / "state"),
        mqtt=MqttSettings(host="127.0.0.1", port=1),
    )


class KeptLink:
    """A link to nowhere that keeps what it is to retain."""

    def __init__(self, agent: Agent) -> None:
        self.published: dict[str, list[object]] = {}
        self._really = agent.link
        self.stats = agent.link.stats

    def publish(self, topic: str, payload: object) -> None:
        self.published.setdefault(topic, []).append(payload)

    publish_state = publish
    publish_score = publish

    def start(self) -> None:
        """There is nothing to connect to."""

    def stop(self, drain_s: float) -> None:
        """Nor anything to drain."""


def unlinked(made: Agent) -> KeptLink:
    kept = KeptLink(made)
    made.link = kept
    return kept


def test_it_ends_when_every_source_has_ended(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle, streams=2))
    unlinked(made)
    assert made.run() == 0
    assert all(each.stream.counts.readings == 60 for each in made.streams.values())
    assert not (tmp_path / "state" / UNCLEAN_MARK).exists()


def test_streams_that_have_ended_are_not_expected_to_move(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    unlinked(made)
    made.run()
    assert made.progress.stuck(made._clock.monotonic_ns() + 10**12) == ()


def test_info_is_told_again_when_a_stream_has_become_another(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    link, now = unlinked(made), 0
    made._tell(now)
    made._tell(now)
    made.streams["pump0"]._make_watcher()
    made._tell(now)
    told = link.published[made.topics.info]
    assert [each.streams["pump0"].grade for each in told if isinstance(each, InfoPayload)] == [None, "provisional"]
    made.outbox.close()


def test_health_is_told_on_change_and_each_minute(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    link = unlinked(made)
    for second in range(121):
        made._tell(second * 10**9)
    told = link.published[made.topics.health]
    assert len(told) == 3
    assert isinstance(told[0], HealthPayload)
    made.outbox.close()


def test_health_that_cannot_be_made_does_not_end_the_watch(
    tmp_path: Path, pump_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    made.health = lambda: 1 / 0
    made._turn(Watchdog(Progress(), None))
    assert "health cannot be told" in caplog.text
    made.outbox.close()


def test_an_end_that_was_not_in_good_order_is_told_at_the_next_start(tmp_path: Path, pump_bundle: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / UNCLEAN_MARK).touch()
    made = Agent(settings(tmp_path, pump_bundle))
    unlinked(made)
    told: list[str] = []
    put = made.outbox.put
    made.outbox.put = lambda event, **given: told.append(str(event.event_type)) or put(event, **given)
    made.run()
    assert told == ["agent_restarted"]


def test_a_stream_that_does_not_stop_is_an_end_that_was_not_in_good_order(
    tmp_path: Path, pump_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    unlinked(made)
    (tmp_path / "state" / UNCLEAN_MARK).touch()
    made.streams["pump0"].stream.stop = lambda _: False
    made._end()
    assert (tmp_path / "state" / UNCLEAN_MARK).exists()
    assert "not stopped within" in caplog.text


def test_what_was_read_is_decided_before_the_link_drains(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    link, finished = unlinked(made), []
    link.stop = lambda _: finished.append(made.streams["pump0"].stream.finished.is_set())
    made.run()
    assert finished == [True]


def test_all_streams_are_asked_to_stop_before_any_is_waited_for(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle, streams=2))
    unlinked(made)
    asked: list[str] = []
    for each in made.streams.values():
        each.stream.ask_to_stop = lambda: asked.append("ask")
        each.stream.stop = lambda _: asked.append("stop") or True
    made._end()
    assert asked == ["ask", "ask", "stop", "stop"]


def test_a_state_folder_that_cannot_be_made_is_no_reason_not_to_start(
    tmp_path: Path, pump_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    caplog.set_level(logging.WARNING)
    made = Agent(settings(tmp_path, pump_bundle))
    unlinked(made)
    assert made.run() == 0
    assert made.outbox.stats().mode == "ram"
    assert made.streams["pump0"].state() == "normal"


def test_a_signal_stops_it(tmp_path: Path) -> None:
    made = Agent(settings(tmp_path, None, rows=0))
    unlinked(made)
    made._on_signal(signal.SIGTERM, None)
    assert made.run() == 0


def test_what_status_shows_counts_lost_alerts(tmp_path: Path, pump_bundle: Path) -> None:
    made = Agent(settings(tmp_path, pump_bundle))
    counts = made.snapshot()["counts"]
    assert isinstance(counts, dict)
    assert counts["pump0"]["alerts_lost"] == 0
    made.outbox.close()


def test_the_boot_has_an_id() -> None:
    assert len(boot_id()) == 36
