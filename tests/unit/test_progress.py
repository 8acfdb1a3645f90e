import logging

import pytest

from edge_agent.contract.records import NS
from edge_agent.health.progress import Progress, Watchdog

LIMIT_S = 10

Sent = list[dict[str, int]]


@pytest.fixture
def progress() -> Progress:
    return Progress(limit_s=LIMIT_S)


@pytest.fixture
def sent() -> Sent:
    return []


@pytest.fixture
def watchdog(progress: Progress, sent: Sent) -> Watchdog:
    return Watchdog(progress, watchdog_s=30, send=lambda **fields: sent.append(fields) or True)


def test_a_sensor_that_speaks_every_three_minutes_trips_nothing(
    progress: Progress, watchdog: Watchdog, sent: Sent
) -> None:
    for second in range(360):
        progress.turned("pump", second * NS)  # the read timed out: nothing came, and that was handled
        assert watchdog.tick(second * NS) == ()
    assert sent == [{"WATCHDOG": 1}] * 36


def test_the_watchdog_is_starved_once_a_loop_hangs(progress: Progress, watchdog: Watchdog, sent: Sent) -> None:
    progress.turned("pump", 0)
    for second in range(60):
        progress.turned("fan", second * NS)
        watchdog.tick(second * NS)
    assert len(sent) == 2  # at 0 and 10 s; the limit passes before the third
    (stuck,) = watchdog.tick(60 * NS)
    assert str(stuck) == "pump: no progress for 60 s"


def test_a_scorer_that_does_not_return_starves_the_watchdog(progress: Progress, watchdog: Watchdog) -> None:
    progress.turned("pump scorer", 0)
    assert watchdog.tick(LIMIT_S * NS) == ()
    assert [each.name for each in watchdog.tick(LIMIT_S * NS + 1)] == ["pump scorer"]


def test_a_scorer_that_returned_may_rest_for_ever(progress: Progress, watchdog: Watchdog) -> None:
    progress.turned("pump scorer", 0)
    progress.rested("pump scorer")
    assert watchdog.tick(10**6 * NS) == ()


def test_a_finished_source_is_expected_to_do_nothing(progress: Progress) -> None:
    progress.turned("replay", 0)
    progress.rested("replay")
    progress.rested("replay")
    assert progress.stuck(10**6 * NS) == ()


def test_the_longest_stuck_comes_first(progress: Progress) -> None:
    progress.turned("fan", 5 * NS)
    progress.turned("pump", 1 * NS)
    assert [each.name for each in progress.stuck(60 * NS)] == ["pump", "fan"]


def test_a_failed_feed_is_tried_again_at_the_next_tick(progress: Progress) -> None:
    answers = iter([False, True, True])
    watchdog = Watchdog(progress, watchdog_s=30, send=lambda **_: next(answers))
    for second in (0, 1, 2):
        watchdog.tick(second * NS)
    assert list(answers) == [True]  # asked twice: the failure at 0 s was made good at 1 s, and 2 s is not due


def test_without_a_watchdog_what_is_stuck_is_still_told(progress: Progress, caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(progress, watchdog_s=None, send=lambda **_: pytest.fail("fed a watchdog that is not there"))
    progress.turned("pump", 0)
    with caplog.at_level(logging.WARNING):
        watchdog.tick(11 * NS)
    assert "pump: no progress for 11 s" in caplog.text


def test_a_hang_and_its_end_are_logged_once_each(
    progress: Progress, watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    progress.turned("pump", 0)
    with caplog.at_level(logging.INFO):
        for second in range(11, 20):
            watchdog.tick(second * NS)
        progress.turned("pump", 20 * NS)
        for second in range(20, 25):
            watchdog.tick(second * NS)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Progress(limit_s=0)
