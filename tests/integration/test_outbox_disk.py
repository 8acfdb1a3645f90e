"""The outbox on real file systems that are full or read-only (a small tmpfs; needs root)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.alerts.outbox import HEAL_S, Outbox
from edge_agent.alerts.settings import OutboxSettings
from tests.alert_payloads import DEVICE, alert
from tests.virtual_clock import VirtualClock


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=4m", "none", folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs root to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def open_box(disk: Path, clock: VirtualClock) -> Outbox:
    return Outbox(disk / "outbox.db", OutboxSettings(), clock, device=DEVICE)


def fill_disk(disk: Path) -> Path:
    """Let somebody else take every byte that is left."""
    path = disk / "somebody-else"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return path


def take_all(box: Outbox) -> list[str]:
    found = []
    while records := box.pending(50):
        found += [json.loads(record.body)["id"] for record in records]
        box.acknowledge([record.key for record in records])
    return found


def test_on_a_full_disk_alerts_still_come_in_and_delivered_ones_go_away(disk: Path) -> None:
    box = open_box(disk, VirtualClock())
    for index in range(100):
        box.put(alert(f"before-{index}", text="x" * 1000))
    fill_disk(disk)

    for index in range(100):
        box.put(alert(f"after-{index}", text="x" * 1000))

    assert box.stats().mode == "disk"
    assert take_all(box) == [f"{when}-{index}" for when in ("before", "after") for index in range(100)]
    assert box.stats().depth == 0
    box.close()
    again = open_box(disk, VirtualClock())
    assert again.pending(9) == []
    again.close()


def test_when_the_reserve_is_used_up_alerts_wait_in_memory_and_none_is_lost(disk: Path) -> None:
    clock = VirtualClock()
    box = open_box(disk, clock)
    other = fill_disk(disk)
    for index in range(1500):
        box.put(alert(f"e{index}", text="x" * 1000))
    assert box.stats().mode == "ram"
    assert "full" in box.stats().problem

    other.unlink()
    clock.sleep(HEAL_S + 1)
    box.put(alert("healed"))

    assert box.stats().mode == "disk"
    assert take_all(box) == [*(f"e{index}" for index in range(1500)), "healed"]
    box.close()


def test_what_is_delivered_while_the_disk_is_read_only_is_deleted_when_it_heals(disk: Path) -> None:
    clock = VirtualClock()
    box = open_box(disk, clock)
    box.put(alert("delivered"))
    box.put(alert("waiting"))
    box.close()
    mount("-o", "remount,ro", disk)
    box = open_box(disk, clock)
    box.put(alert("in-memory"))
    assert box.stats().mode == "ram"

    mount("-o", "remount,rw", disk)
    clock.sleep(HEAL_S + 1)

    assert box.stats().mode == "disk"
    assert take_all(box) == ["delivered", "waiting", "in-memory"]
    box.close()


def test_a_disk_that_turns_read_only_while_running_stops_neither_alerts_nor_deliveries(tmp_path: Path) -> None:
    clock = VirtualClock()
    box = open_box(tmp_path, clock)
    delivered = box.put(alert("delivered"))
    box.put(alert("waiting"))
    assert box._ledgers.disk
    box._ledgers.disk.store._db.execute("PRAGMA query_only = ON")
    box.put(alert("in-memory"))
    assert box.stats().mode == "ram"
    box.acknowledge([delivered.key])
    assert [json.loads(record.body)["id"] for record in box.pending(9)] == ["waiting", "in-memory"]
    assert box.stats().depth == 2

    clock.sleep(HEAL_S + 1)
    assert take_all(box) == ["waiting", "in-memory"]
    assert box.stats().mode == "disk"
    box.close()
    again = open_box(tmp_path, clock)
    assert again.pending(9) == []
    again.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_means_memory(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    box = open_box(tmp_path / "state", VirtualClock())
    box.put(alert("e"))

    assert box.stats().mode == "ram"
    box.close()
