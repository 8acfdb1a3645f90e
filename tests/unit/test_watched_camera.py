"""Which model watches a camera, what is kept of its scene, and what a watcher made again goes on with."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.backoff import Backoff
from edge_agent.camera_pipeline import CameraGraph, camera_pipeline
from edge_agent.config import StreamSettings
from edge_agent.contract import strict_json
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frames import Frame
from edge_agent.contract.manifest_base import GraphFormat
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Fault, Stage, Unknown
from edge_agent.contract.wire import ClockState
from edge_agent.contract.zones import Zone
from edge_agent.errors import ScoringError
from edge_agent.found_bundle import Found
from edge_agent.frame_account import FrameAccount
from edge_agent.pipeline import DecisionSettings
from edge_agent.reporting import Reporter
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.scoring.frame_selection import choose_frame_graph
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.sources.camera import CameraSettings, NetworkCameraSettings
from edge_agent.sources.inspection import InspectionScene, SceneFault, SceneFaultKind
from edge_agent.sources.recorded import ImagesSettings
from edge_agent.update.slots import Slots
from edge_agent.vision.camera_health import CameraHealth, CameraHealthSettings
from edge_agent.vision.frame_prefilter import FramePrefilterSettings
from edge_agent.vision.regions import LocalisationSettings
from edge_agent.vision.settings import VisionSettings
from edge_agent.watched_camera import (
    MAX_REFERENCE_BYTES,
    REFERENCE_FILE,
    SAVE_EVERY_S,
    SCENE_FILE,
    WatchedCamera,
    camera_silence_s,
)
from tests.fakes import KeptAlerts, KeptEvidence, KeptPayloads, Watched
from tests.frame_bundles import BELT, INPUT, bundle_bytes, running_bundle
from tests.virtual_clock import EPOCH_NS, VirtualClock

SOURCE = ImagesSettings(path="/nowhere")
LEARN = FramePrefilterSettings(learn_frames=20, learn_s=0.0)
VISION = VisionSettings(health=CameraHealthSettings(learn_frames=5), prefilter=LEARN)
NOTHING_IS_STRANGE = DecisionSettings(k=1e6)
RATE_HZ = 5


class Bench:
    """A watched camera without its threads: its watcher is made and fed here, from a simulated station."""

    def __init__(self, folder: Path, *faults: SceneFault, alerts: KeptAlerts | None = None, **given: Any) -> None:
        self.clock, self.alerts, self.link = VirtualClock(), alerts or KeptAlerts(), KeptPayloads()
        self.evidence = KeptEvidence()
        ids = (f"{id(self)}-{number}" for number in itertools.count())
        self.scene, self.number = InspectionScene(width=96, height=72, faults=faults), 0
        self.watched = WatchedCamera(
            "cell",
            StreamSettings(**({"source": SOURCE, "camera": VISION} | given)),
            folder=folder,
            clock=self.clock,
            keeper=self.evidence,
            reporter=self._reporter,
            new_id=lambda: next(ids),
            supervision=Watched(),
            backoff=Backoff(),
        )
        self.watched._make_watcher()

    def _reporter(self, account: FrameAccount, own_time: bool) -> Reporter[Any]:
        return Reporter(
            stream="cell",
            device="bench",
            boot_id="boot",
            account=account,
            own_time=own_time,
            alerts=self.alerts,
            publisher=self.link,
            clock=self.clock,
            clock_state=lambda: ClockState.SYNCED,
        )

    def see(self, count: int = 1) -> Any:
        """Let so many frames come; return the state."""
        for _ in range(count):
            self.clock.sleep(1 / RATE_HZ)
            pixels, t_ns = self.scene.pixels(self.number), EPOCH_NS + self.number * NS // RATE_HZ
            decided = self.watched.feed(Frame(pixels=pixels, t_ns=t_ns, number=self.number, source="test"))
            self.number += 1
            if decided:
                self.watched.decided(decided)
        self.watched.reporter.settle(end=True)
        return self.link.states[-1]


def fault(kind: SceneFaultKind, start: int, frames: int) -> SceneFault:
    return SceneFault(kind=kind, start=start, frames=frames)


# Which model watches.


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "weld.bundle"
    path.write_bytes(running_bundle())
    return path


def install_broken(folder: Path, bundle: Path, **change: Any) -> None:
    """Install a bundle, and after it version 9.9.9, of which no graph runs."""
    slots, broken = Slots(folder / "slots"), folder / "new.bundle"
    broken.write_bytes(bundle_bytes({"version": "9.9.9", **change}))
    slots.install(bundle)
    slots.install(broken)


def test_without_a_bundle_the_scene_is_learned_and_watched(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.see().fault is Fault.CALIBRATING
    assert bench.watched.info().grade is None
    assert (bench.see(20).anomaly, bench.watched.info().grade) == ("OFF", "provisional")
    assert bench.watched.health().model is None


def test_the_graph_of_the_bundle_watches_from_the_first_frame_on(tmp_path: Path, bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(bundle), decision=NOTHING_IS_STRANGE)
    state = bench.see()
    assert (state.anomaly, state.fault, state.detail) == ("OFF", None, "")
    health = bench.watched.health()
    assert (health.model, health.version, health.skipped_share) == ("weld", "1.0.0", 0.0)
    assert health.infer_p95_ms > 0


def test_the_zones_of_the_bundle_hold_unless_the_settings_have_some(tmp_path: Path, bundle: Path) -> None:
    own = Zone(name="own", polygon=BELT.polygon, factor=3.0)
    for zones, expected in (((), BELT), ((own,), own)):
        vision = VisionSettings(prefilter=LEARN, localisation=LocalisationSettings(zones=zones))
        bench = Bench(tmp_path, bundle=str(bundle), camera=vision, decision=DecisionSettings(k=1.0))
        bench.see(3)
        region = next(event.region for event in bench.alerts.events if event.region)
        assert region is not None
        assert bench.watched.pipeline.network.watch._settings.zones == (expected,)


def test_sensitivity_is_set_on_the_device(tmp_path: Path, bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(bundle), decision=DecisionSettings(k=1.0))
    assert bench.see(3).anomaly == "ON"


@pytest.mark.parametrize(("graph_format", "grade"), [("float32", "counted"), ("edgetpu", "provisional")])
def test_a_rate_that_is_asked_is_never_promised_of_an_edge_tpu(bundle: Path, graph_format: str, grade: str) -> None:
    read, decision = FrameBundle.read(bundle), DecisionSettings(alarms_per_day=1e5)
    spec = dataclasses.replace(read.manifest.graphs[0], format=GraphFormat(graph_format))
    graph = CameraGraph(bundle=read, spec=spec, scorer=FrameScorer(read.graph("float32"), spec))
    made = camera_pipeline(
        graph, VISION, health=CameraHealth(), prefilter=None, decision=decision, new_id=lambda: "event"
    )
    thresholds = made.network.watch.thresholds
    assert (thresholds.score.grade, thresholds.map.grade) == (grade, grade)


def test_the_bundle_before_watches_where_no_graph_of_the_installed_one_runs(tmp_path: Path, bundle: Path) -> None:
    install_broken(tmp_path, bundle)
    bench = Bench(tmp_path, decision=NOTHING_IS_STRANGE)
    state = bench.see()
    assert (state.anomaly, state.fault) == ("OFF", None)
    assert "9.9.9" in state.detail
    assert bench.watched.health().version == "1.0.0"


def test_alerts_of_the_bundle_before_are_held_against_its_own_zones(tmp_path: Path, bundle: Path) -> None:
    install_broken(tmp_path, bundle, input={**strict_json.plain(INPUT), "zones": []})
    bench = Bench(tmp_path, decision=DecisionSettings(k=1.0))
    pixels = np.random.default_rng(0).integers(0, 60, (72, 96, 3), np.uint8)
    pixels[40:] += 190
    for number in range(3):
        frame = Frame(pixels=pixels, t_ns=EPOCH_NS + number * NS // RATE_HZ, number=number, source="test")
        bench.watched.decided(bench.watched.feed(frame))
    (event,) = bench.alerts.events
    assert event.threshold > bench.watched.pipeline.thresholds(Stage.NETWORK).threshold


@pytest.mark.parametrize("loads", [True, False])
def test_a_watcher_made_again_runs_the_graph_that_was_chosen_unless_it_does_not_load(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    def choose(given: FrameBundle, settings: ScoringSettings) -> Any:
        asked.append(settings.graph)
        if settings.graph != "auto" and not loads:
            raise ScoringError("no memory")
        return choose_frame_graph(given, settings)

    asked: list[str] = []
    monkeypatch.setattr("edge_agent.camera_pipeline.choose_frame_graph", choose)
    bench = Bench(tmp_path, bundle=str(bundle), decision=NOTHING_IS_STRANGE)
    bench.watched._make_watcher()
    assert asked == ["auto", "float32"] + ["auto"] * (not loads)
    assert (bench.see().fault, bench.watched.health().model) == (None, "weld")


def test_a_watcher_made_again_says_why_the_bundle_before_watches(tmp_path: Path, bundle: Path) -> None:
    install_broken(tmp_path, bundle)
    bench = Bench(tmp_path, decision=NOTHING_IS_STRANGE)
    bench.watched._make_watcher()
    assert "9.9.9" in bench.see().detail
    assert bench.watched.health().version == "1.0.0"


def test_a_watcher_made_again_without_a_graph_has_no_model(tmp_path: Path, bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(bundle), decision=NOTHING_IS_STRANGE)
    bench.watched._found, bench.watched._chosen = Found(bundle=None, problem="gone"), None
    bench.watched._make_watcher()
    assert (bench.watched.health().model, bench.watched.health().delegate) == (None, None)


def test_a_bundle_that_is_broken_leaves_the_scene_watching_under_the_fault_model(tmp_path: Path) -> None:
    path = tmp_path / "weld.bundle"
    path.write_bytes(b"no bundle")
    bench = Bench(tmp_path, bundle=str(path))
    first = bench.see()
    assert (first.anomaly, first.fault) == (None, Fault.MODEL)
    later = bench.see(21)
    assert (later.anomaly, later.fault) == ("OFF", Fault.MODEL)
    assert "weld.bundle" in later.detail
    assert bench.alerts.kinds() == ["model_fault"]


def test_a_bundle_whose_masks_and_those_of_the_settings_leave_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weld.bundle"
    left, right = (((x, 0.0), (x + 0.5, 0.0), (x + 0.5, 1.0), (x, 1.0)) for x in (0.0, 0.5))
    path.write_bytes(bundle_bytes({"input": {**strict_json.plain(INPUT), "masks": [left]}}))
    masked = VisionSettings(prefilter=LEARN, localisation=LocalisationSettings(masks=(right,)))
    state = Bench(tmp_path, bundle=str(path), camera=masked).see()
    assert state.fault is Fault.MODEL
    assert "leave something to watch" in state.detail


def test_a_bundle_of_a_sensor_is_refused_in_words(tmp_path: Path) -> None:
    from tests.bundles import bundle_bytes as of_sensor

    path = tmp_path / "pump.bundle"
    path.write_bytes(of_sensor())
    assert "sensor" in Bench(tmp_path, bundle=str(path)).see().detail


def test_a_prefilter_that_is_off_is_made_all_the_same_where_no_graph_runs(tmp_path: Path, bundle: Path) -> None:
    off = VisionSettings(prefilter=FramePrefilterSettings(mode=Mode.OFF, learn_frames=20, learn_s=0.0))
    assert Bench(tmp_path, bundle=str(bundle), camera=off).watched.pipeline.prefilter is None
    assert Bench(tmp_path, camera=off).watched.pipeline.prefilter is not None


# The scene over restarts.


def test_scene_and_reference_are_kept_as_soon_as_they_are_learned_and_used_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.see(25)
    assert {each.name for each in tmp_path.iterdir()} == {SCENE_FILE, REFERENCE_FILE}
    again = Bench(tmp_path)
    again.number = 25
    assert again.see().anomaly == "OFF"
    assert not again.watched.pipeline.health.learning


def test_a_scene_that_is_followed_is_kept_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.see(25)
    contents = [(tmp_path / SCENE_FILE).read_bytes()]
    bench.see(5)
    contents.append((tmp_path / SCENE_FILE).read_bytes())
    bench.clock.sleep(SAVE_EVERY_S)
    bench.see()
    contents.append((tmp_path / SCENE_FILE).read_bytes())
    bench.see(5)
    bench.watched.settle(end=True)
    contents.append((tmp_path / SCENE_FILE).read_bytes())
    assert contents[0] == contents[1]
    assert len(set(contents)) == 3


@pytest.mark.parametrize("content", [b"damaged", bytes(2 << 20)], ids=["damaged", "too large"])
@pytest.mark.parametrize("name", [SCENE_FILE, REFERENCE_FILE])
def test_a_file_that_cannot_be_read_means_learning_anew(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    Bench(tmp_path).see(25)
    (tmp_path / name).write_bytes(content)
    bench = Bench(tmp_path)
    bench.see(25)
    assert bench.link.states[-1].anomaly == "OFF"
    assert (tmp_path / name).read_bytes() != content
    assert ("more than 1048576 bytes" in caplog.text) is (len(content) > MAX_REFERENCE_BYTES)


def test_a_scene_of_other_masks_is_learned_anew(tmp_path: Path) -> None:
    Bench(tmp_path).see(25)
    corner = ((0.0, 0.0), (0.3, 0.0), (0.3, 0.3))
    masked = VisionSettings(prefilter=LEARN, localisation=LocalisationSettings(masks=(corner,)))
    assert Bench(tmp_path, camera=masked).see().fault is Fault.CALIBRATING


def test_a_disk_that_takes_nothing_costs_the_scene_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    bench = Bench(tmp_path / "file")
    assert bench.see(25).anomaly == "OFF"
    assert "a restart learns it again" in caplog.text


def test_a_watcher_made_again_goes_on_with_scene_reference_and_open_events(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fault(SceneFaultKind.MISSING, 30, 9999))
    bench.see(40)
    reference = bench.watched.pipeline.health.reference
    bench.watched._make_watcher()
    assert bench.see(5).anomaly == "ON"
    assert bench.watched.pipeline.health.reference is reference
    assert bench.alerts.kinds().count("anomaly") == 1


def test_a_watcher_made_again_goes_on_with_the_scene_it_was_learning(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.see(15)
    bench.watched._make_watcher()
    assert bench.see(6).anomaly == "OFF"


# Light and camera.


def test_light_off_is_dark_and_on_again_at_another_level_a_scene_that_heals(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fault(SceneFaultKind.DARK, 40, 60), fault(SceneFaultKind.DIMMED, 100, 9999))
    bench.see(40)
    dark = bench.see(60)
    assert (dark.anomaly, dark.fault, dark.detail.partition(":")[0]) == (None, Fault.CAMERA, "dark")
    lit = bench.see(15)
    assert (lit.anomaly, lit.fault) == (None, Fault.SCENE)
    assert bench.see(100).anomaly == "OFF"
    assert set(bench.alerts.kinds()) == {"sensor_fault", "sensor_ok", "scene_changed"}
    assert (tmp_path / REFERENCE_FILE).exists()


def test_a_camera_opened_anew_is_not_frozen_by_what_it_showed_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fault(SceneFaultKind.FROZEN, 30, 80))
    bench.see(70)
    bench.watched.unknown(Unknown(t_ns=EPOCH_NS + 14 * NS, fault=Fault.NO_DATA))
    assert bench.see(20).fault is None


# Sources.


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        (CameraSettings(device="/dev/video0"), {}, 10.0),
        (CameraSettings(device="/dev/video0"), {"no_data_s": 3.0}, 3.0),
        (ImagesSettings(path="x", rate_hz=0.01), {}, 300.0),
        (ImagesSettings(path="x", rate_hz=0.01, speed=100.0), {}, 10.0),
    ],
)
def test_silence_is_three_frames_but_at_least_ten_seconds(source: Any, given: dict[str, Any], expected: float) -> None:
    assert camera_silence_s(StreamSettings(source=source, **given)) == expected


def test_a_password_that_cannot_be_read_is_said_and_the_camera_still_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = NetworkCameraSettings(url="rtsp://camera/1", username="u", password_file=str(tmp_path / "none"))
    Bench(tmp_path, source=source)
    assert "cannot be read" in caplog.text


def test_pictures_of_an_alert_show_the_frame_that_fired(tmp_path: Path) -> None:
    bench = Bench(tmp_path, fault(SceneFaultKind.MISSING, 30, 20))
    bench.see(40)
    note, image, heatmap, values = next(iter(bench.evidence.frames.values()))
    assert image.startswith(b"\xff\xd8")
    assert heatmap is not None
    assert values.shape == (24, 32)
    assert np.isfinite(values).all()
    assert note.box is not None
