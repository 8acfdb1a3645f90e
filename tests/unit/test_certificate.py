from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.alerts.certificate import CertificateWatch, announcement, days_left, expiries
from tests.integration.pki import NOW, Authority
from tests.virtual_clock import VirtualClock


def test_the_end_of_each_certificate_in_a_file_is_found(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    text = authority.issue("device", days=20).cert.read_text() + authority.cert.read_text()

    ends = expiries("some words before\n" + text)

    assert ends == [(NOW + timedelta(days=days)).replace(microsecond=0) for days in (20, 365)]


def test_dates_after_2049_are_understood(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("device", days=40 * 365)

    assert expiries(pair.cert.read_text())[0].year == (NOW + timedelta(days=40 * 365)).year


def test_days_are_counted_to_the_first_end() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert days_left([now + timedelta(days=9), now + timedelta(days=2)], now) == 2
    assert days_left([now - timedelta(days=1)], now) == -1
    assert days_left([], now) is None


def test_a_damaged_certificate_is_an_error(tmp_path: Path) -> None:
    lines = Authority(tmp_path).cert.read_text().splitlines()

    with pytest.raises(ValueError, match=r"damaged|dates"):
        expiries("\n".join([*lines[:2], lines[-1]]))


def test_each_limit_is_announced_once() -> None:
    told: list[tuple[float, int | None]] = []
    before = None
    for days in (40.0, 30.0, 29.0, 7.0, 6.0, 1.0, 0.5, -1.0):
        told.append((days, announcement(days, before)))
        before = days

    assert [(days, limit) for days, limit in told if limit] == [(30.0, 30), (7.0, 7), (1.0, 1)]
    assert announcement(3.0, None) == 7
    assert announcement(None, None) is None


def test_an_end_that_comes_near_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    days = (NOW - datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)) / timedelta(days=1)
    pair = Authority(tmp_path).issue("device", days=31 - days)
    watch = CertificateWatch([pair.cert], clock)

    with caplog.at_level(logging.WARNING):
        watch.look()
        assert caplog.messages == []
        clock.sleep(2 * 86400)
        watch.look()

    assert watch.days == pytest.approx(29, abs=0.1)
    assert "expires in 29" in caplog.text


def test_a_file_that_cannot_be_read_is_told_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = CertificateWatch([tmp_path / "none.pem"], VirtualClock())
    watch.look()

    assert watch.days is None
    assert "cannot be read" in caplog.text
