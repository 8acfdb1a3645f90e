from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent.alerts.evidence import Evidence, FrameNote, NotedRegion
from edge_agent.alerts.settings import EvidenceSettings
from edge_agent.contract import strict_json
from edge_agent.contract.records import NS, Block, Channel

CHANNELS = (Channel(name="pressure", unit="bar"), Channel(name="flow", unit="l/min"))


def block(rows: int = 200, seed: int = 0) -> Block:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 2)).astype(np.float32)
    return Block(values=values, t_ns=1_795_301_755 * NS + np.arange(rows, dtype=np.int64) * NS)


def keep(evidence: Evidence, name: str, rows: int = 200) -> Path | None:
    context = block(rows)
    return evidence.keep(
        name, channels=CHANNELS, context=context, window=context.values[-64:], meta={"score": 3.5, "stream": "pump"}
    )


def test_window_context_and_meaning_can_be_read_back(tmp_path: Path) -> None:
    path = keep(Evidence(tmp_path / "e", EvidenceSettings()), "abc")

    assert path is not None
    arrays = np.load(tmp_path / "e" / path, allow_pickle=False)
    meta = json.loads((tmp_path / "e" / path).with_suffix(".json").read_text())
    np.testing.assert_array_equal(arrays["context"], block().values)
    np.testing.assert_array_equal(arrays["context_t_ns"], block().t_ns)
    np.testing.assert_array_equal(arrays["window"], block().values[-64:])
    assert meta["channels"] == [{"name": "pressure", "unit": "bar"}, {"name": "flow", "unit": "l/min"}]
    assert meta["score"] == 3.5


def test_the_oldest_goes_first_and_the_quota_holds(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, EvidenceSettings(max_mib=0.05))
    for index in range(60):
        keep(evidence, f"event-{index:02}", rows=500)
        for path in tmp_path.glob(f"*event-{index:02}*"):
            os.utime(path, ns=(index * NS, index * NS))

    left = sorted(path.stem.split("-", 1)[1] for path in tmp_path.glob("*.npz"))
    assert evidence.used_bytes <= 0.05 * (1 << 20)
    assert left[-1] == "event-59"
    assert left == [f"event-{index:02}" for index in range(60 - len(left), 60)]


def test_evidence_larger_than_the_quota_leaves_the_rest_alone(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, EvidenceSettings(max_mib=0.02))
    keep(evidence, "small", rows=100)

    assert keep(evidence, "large", rows=20_000) is None
    assert list(tmp_path.glob("*small*"))


def test_a_quota_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    assert keep(Evidence(tmp_path / "e", EvidenceSettings(max_mib=0)), "abc") is None
    assert not (tmp_path / "e").exists()


def test_a_disk_that_takes_nothing_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("a file where the folder should be")

    assert keep(Evidence(tmp_path / "e", EvidenceSettings()), "abc") is None


def test_a_write_that_fails_half_way_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert keep(Evidence(tmp_path, EvidenceSettings()), "abc") is None
    assert list(tmp_path.iterdir()) == []


def test_parts_left_by_a_crash_count_and_go_in_their_turn(tmp_path: Path) -> None:
    part = tmp_path / ".x.npz.part"
    part.write_bytes(b"x" * 30_000)
    os.utime(part, ns=(0, 0))
    evidence = Evidence(tmp_path, EvidenceSettings(max_mib=0.03))

    assert evidence.used_bytes == 30_000
    assert keep(evidence, "abc") is not None
    assert not part.exists()


def test_a_file_that_goes_while_the_folder_is_read_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = Evidence(tmp_path, EvidenceSettings())
    keep(evidence, "abc")
    (tmp_path / "gone").touch()
    used, scan = evidence.used_bytes, os.scandir

    def scan_before_it_goes(path: Path) -> list[os.DirEntry[str]]:
        entries = list(scan(path))
        (tmp_path / "gone").unlink()
        return entries

    monkeypatch.setattr(os, "scandir", scan_before_it_goes)
    assert evidence.used_bytes == used > 0


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x" * 65])
def test_an_id_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="an event id has"):
        keep(Evidence(tmp_path, EvidenceSettings()), name)


# Of frames.

MAP = np.linspace(0, 3e5, 28 * 28, dtype=np.float32).reshape(28, 28)
AT_NS = 1_795_301_755 * NS


def note(name: str, at_ns: int = AT_NS) -> FrameNote:
    region = NotedRegion(box=(0.1, 0.2, 0.3, 0.4), score=12.5, area=0.03, zone="belt")
    return FrameNote(id=name, stream="station", event_type="anomaly", t_ns=at_ns, box=region.box, regions=(region,))


def keep_frame(evidence: Evidence, name: str, size: int = 3000, at_ns: int = AT_NS) -> Path | None:
    return evidence.keep_frame(note(name, at_ns), image=b"i" * size, heatmap=b"h" * (size // 3), values=MAP)


def test_frame_heatmap_map_and_meaning_can_be_read_back(tmp_path: Path) -> None:
    path = keep_frame(Evidence(tmp_path, EvidenceSettings()), "abc")

    assert path == Path("20261121T225555-abc.jpg")
    assert (tmp_path / path).read_bytes() == b"i" * 3000
    assert (tmp_path / "20261121T225555-abc.heatmap.jpg").read_bytes() == b"h" * 1000
    arrays = np.load(tmp_path / "20261121T225555-abc.npz", allow_pickle=False)
    assert arrays["map"].dtype == np.float16
    np.testing.assert_allclose(arrays["map"].astype(np.float64) * arrays["unit"], MAP, rtol=1e-3, atol=1)
    noted = json.loads((tmp_path / "20261121T225555-abc.json").read_text())
    assert strict_json.read(FrameNote, noted, "note") == note("abc")


def test_a_frame_without_a_map_is_kept_alone(tmp_path: Path) -> None:
    Evidence(tmp_path, EvidenceSettings()).keep_frame(note("abc"), image=b"i", heatmap=None, values=None)
    assert {path.name.partition(".")[2] for path in tmp_path.iterdir()} == {"jpg", "json"}


def test_frames_and_readings_share_the_quota_and_go_whole(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, EvidenceSettings(max_mib=0.05))
    for index in range(30):
        name = f"event-{index:02}"
        if index % 3:
            keep_frame(evidence, name, at_ns=AT_NS + index * NS)
        else:
            keep(evidence, name)
        for path in tmp_path.glob(f"*{name}*"):
            os.utime(path, ns=(index * NS, index * NS))

    assert evidence.used_bytes <= 0.05 * (1 << 20)
    left: dict[str, set[str]] = {}
    for path in tmp_path.iterdir():
        stem, _, ending = path.name.partition(".")
        left.setdefault(stem.split("-", 1)[1], set()).add(ending)
    assert sorted(left) == [f"event-{index:02}" for index in range(30 - len(left), 30)]
    whole = {"jpg", "heatmap.jpg", "npz", "json"}
    assert all(endings in (whole, {"npz", "json"}) for endings in left.values())


def test_a_frame_larger_than_the_quota_leaves_the_rest_alone(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path, EvidenceSettings(max_mib=0.02))
    keep_frame(evidence, "small")

    assert keep_frame(evidence, "large", size=30_000) is None
    assert len(list(tmp_path.glob("*small*"))) == 4


def test_a_quota_of_nothing_keeps_no_frame(tmp_path: Path) -> None:
    assert keep_frame(Evidence(tmp_path / "e", EvidenceSettings(max_mib=0)), "abc") is None


def test_an_id_of_a_frame_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an event id has"):
        keep_frame(Evidence(tmp_path, EvidenceSettings()), "../x")


def test_a_map_of_zeros_is_kept_as_it_is(tmp_path: Path) -> None:
    Evidence(tmp_path, EvidenceSettings()).keep_frame(note("a"), image=b"i", heatmap=None, values=np.zeros_like(MAP))
    assert not np.load(next(tmp_path.glob("*.npz")), allow_pickle=False)["map"].any()
