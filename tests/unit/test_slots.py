import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edge_agent.errors import BundleError
from edge_agent.update import slots as slots_module
from edge_agent.update.slots import Slots

Bundles = Callable[[str], Path]
"""Makes a bundle file with the given text."""


class PowerCut(BaseException):
    """Nothing after it happens, and no `except Exception` may stop it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "streams" / "pump" / "slots"


@pytest.fixture
def slots(folder: Path) -> Slots:
    return Slots(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundles:
    def make(text: str) -> Path:
        path = tmp_path / f"{text}.bundle"
        path.write_text(text)
        return path

    return make


def names(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in folder.glob("*.bundle"))


def test_a_new_stream_has_no_bundle(slots: Slots) -> None:
    assert slots.current() is None
    assert slots.previous() is None


def test_an_installed_bundle_is_the_current_one(slots: Slots, bundle: Bundles) -> None:
    assert slots.install(bundle("a")) == slots.current()
    assert slots.current().read_text() == "a"


def test_the_bundle_before_is_kept_and_older_ones_are_removed(slots: Slots, bundle: Bundles, folder: Path) -> None:
    for text in "abc":
        slots.install(bundle(text))
    assert (slots.current().read_text(), slots.previous().read_text()) == ("c", "b")
    assert names(folder) == ["b", "c"]


def test_installing_the_current_bundle_again_keeps_the_previous(slots: Slots, bundle: Bundles) -> None:
    for text in "abb":
        slots.install(bundle(text))
    assert (slots.current().read_text(), slots.previous().read_text()) == ("b", "a")


def test_installing_the_previous_bundle_swaps_the_two(slots: Slots, bundle: Bundles) -> None:
    for text in "aba":
        slots.install(bundle(text))
    assert (slots.current().read_text(), slots.previous().read_text()) == ("a", "b")


def test_going_back_runs_the_previous_and_forgets_the_current(slots: Slots, bundle: Bundles, folder: Path) -> None:
    for text in "ab":
        slots.install(bundle(text))
    assert slots.back().read_text() == "a"
    assert slots.current().read_text() == "a"
    assert slots.previous() is None
    assert names(folder) == ["a"]


def test_there_is_nothing_to_go_back_to_after_the_first_install(slots: Slots, bundle: Bundles) -> None:
    slots.install(bundle("a"))
    with pytest.raises(BundleError, match="no previous bundle"):
        slots.back()


def test_a_missing_file_changes_nothing(slots: Slots, bundle: Bundles, tmp_path: Path) -> None:
    slots.install(bundle("a"))
    with pytest.raises(BundleError, match="was not installed"):
        slots.install(tmp_path / "gone.bundle")
    assert slots.current().read_text() == "a"


def test_a_folder_is_no_bundle(slots: Slots, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="was not installed"):
        slots.install(tmp_path)


def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing_behind(
    slots: Slots, bundle: Bundles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.install(bundle("a"))
    monkeypatch.setattr(slots_module, "MAX_BUNDLE_BYTES", 3)
    with pytest.raises(BundleError, match="more than 3 bytes"):
        slots.install(bundle("four"))
    assert names(folder) == ["a"]
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("target", ["../../../etc/passwd", "gone.bundle", "/etc/passwd"])
def test_a_link_to_anything_but_a_slot_counts_as_none(slots: Slots, folder: Path, target: str) -> None:
    folder.mkdir(parents=True)
    (folder / "current").symlink_to(target)
    assert slots.current() is None


def test_a_plain_file_in_place_of_a_link_is_replaced_by_the_next_install(
    slots: Slots, bundle: Bundles, folder: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / "current").write_text("not a link")
    assert slots.current() is None
    slots.install(bundle("a"))
    assert slots.current().read_text() == "a"


def test_a_full_disk_leaves_the_current_bundle(slots: Slots, bundle: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    slots.install(bundle("a"))

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match="No space left"):
        slots.install(bundle("b"))
    monkeypatch.undo()
    assert slots.current().read_text() == "a"


def count_steps(monkeypatch: pytest.MonkeyPatch, cut_at: int | None = None) -> list[str]:
    """Cut the power before the step `cut_at`: every change of a name and every fsync is a step."""
    steps: list[str] = []

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            steps.append(name)
            if cut_at is not None and len(steps) >= cut_at:
                raise PowerCut  # what a `finally` tries after the cut does not happen either
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, step)

    for name in ("replace", "symlink", "unlink", "fsync"):
        wrap(name)
    return steps


def test_a_power_cut_at_any_step_leaves_the_old_or_the_new_and_the_next_install_works(
    tmp_path: Path, bundle: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        rehearsal = Slots(tmp_path / "rehearsal")
        for text in "ab":
            rehearsal.install(bundle(text))
        recorded = count_steps(patch)
        rehearsal.install(bundle("c"))
    steps = len(recorded)
    assert steps > 8
    seen = set()
    for cut_at in range(1, steps + 1):
        slots = Slots(tmp_path / f"cut-{cut_at}")
        for text in "ab":
            slots.install(bundle(text))
        with monkeypatch.context() as patch:
            count_steps(patch, cut_at)
            with pytest.raises(PowerCut):
                slots.install(bundle("c"))
        survivor = slots.current().read_text()
        assert survivor in {"b", "c"}
        seen.add(survivor)
        slots.install(bundle("d"))
        assert (slots.current().read_text(), slots.previous().read_text()) == ("d", survivor)
        assert names(tmp_path / f"cut-{cut_at}") == sorted(["d", survivor])
    assert seen == {"b", "c"}


def test_a_file_is_on_disk_before_it_has_its_name_and_a_link_before_the_install_returns(
    slots: Slots, bundle: Bundles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append(("fsync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        steps.append(("rename", source.lstat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    file, link = slots.install(bundle("a")).stat().st_ino, (folder / "current").lstat().st_ino
    made_durable = ("fsync", folder.stat().st_ino)
    assert steps[-5:] == [("fsync", file), ("rename", file), made_durable, ("rename", link), made_durable]


def test_two_installs_at_once_leave_whole_slots(slots: Slots, bundle: Bundles) -> None:
    files = [bundle(text) for text in "abcdef"]
    threads = [threading.Thread(target=slots.install, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    current, previous = slots.current().read_text(), slots.previous().read_text()
    assert current != previous
    assert {current, previous} <= set("abcdef")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_what_root_installs_belongs_to_the_service(tmp_path: Path, bundle: Bundles) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 4321, 4322)
    slot = Slots(state / "streams" / "pump" / "slots").install(bundle("a"))
    for path in (slot, slot.parent, slot.parent.parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322)
