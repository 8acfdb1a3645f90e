"""Which model watches a stream, what is said of it, and what a watcher made again goes on with."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent import graph_choice
from edge_agent.backoff import Backoff
from edge_agent.config import StreamSettings
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.records import NS, Block, Channel, Fault, Unknown
from edge_agent.contract.wire import ClockState
from edge_agent.errors import BundleError, ScoringError
from edge_agent.found_bundle import find_bundle
from edge_agent.graph_choice import channel_problem
from edge_agent.on_site import LearningSettings
from edge_agent.readings_account import ReadingsAccount
from edge_agent.reporting import Reporter
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.site_model import LEARNED_FILE, SITE_FILE, SiteModel
from edge_agent.sources.pump import PUMP_CHANNELS, Pump, PumpFault, PumpFaultKind
from edge_agent.sources.replay import ReplaySettings
from edge_agent.supervised_scorer import SupervisedScorer
from edge_agent.update.slots import Slots
from edge_agent.watched import silence_s
from edge_agent.watching import WatchedStream
from tests.bundles import zipped
from tests.fakes import Answers, KeptAlerts, KeptEvidence, KeptPayloads, Watched, broken
from tests.virtual_clock import EPOCH_NS, VirtualClock

SOURCE = ReplaySettings(path="/nowhere/recording.csv", columns=("time", "a"), time_column="time")
LEARNING = LearningSettings(readings=200, window=8)


class Bench:
    """A watched stream without its threads: its watcher is made and fed here."""

    def __init__(self, folder: Path, alerts: KeptAlerts | None = None, **given: Any) -> None:
        self.clock, self.supervision = VirtualClock(), Watched()
        self.alerts, self.link = alerts or KeptAlerts(), KeptPayloads()
        self.ids = (f"{id(self)}-{number}" for number in itertools.count())
        values = {"source": SOURCE, "channels": PUMP_CHANNELS, "learning": LEARNING} | given
        self.watched = WatchedStream(
            "pump",
            StreamSettings(**values),
            folder=folder,
            clock=self.clock,
            keeper=KeptEvidence(),
            reporter=self._reporter,
            new_id=lambda: next(self.ids),
            supervision=self.supervision,
            backoff=Backoff(),
        )
        self.watched._make_watcher()

    def _reporter(self, account: ReadingsAccount, own_time: bool) -> Reporter[Block]:
        return Reporter(
            stream="pump",
            device="bench",
            boot_id="boot",
            account=account,
            own_time=own_time,
            alerts=self.alerts,
            publisher=self.link,
            clock=self.clock,
            clock_state=lambda: ClockState.SYNCED,
        )

    def read(self, block: Block, size: int = 10) -> None:
        for i in range(0, len(block), size):
            self.clock.sleep(size)
            part = Block(values=block.values[i : i + size], t_ns=block.t_ns[i : i + size])
            self.watched.decided(part, self.watched.feed(part))
        self.watched.settle(end=True)

    def silent(self) -> None:
        unknown = Unknown(t_ns=EPOCH_NS, fault=Fault.NO_DATA, detail="silent")
        self.watched.decided(None, [self.watched.unknown(unknown)])

    @property
    def state(self) -> Any:
        return self.link.states[-1]


def broken_pump(start_s: float = 60) -> Pump:
    fault = PumpFault(kind=PumpFaultKind.CAVITATION, start_s=start_s, duration_s=1e9, severity=4.0)
    return Pump(seed=11, faults=(fault,))


def changed(bundle: Path, target: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """Write a bundle with other members, all digests right again."""
    with zipfile.ZipFile(io.BytesIO(bundle.read_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(manifest, members)
    for entry in (*manifest["graphs"], manifest["prefilter"], manifest["golden"]):
        data = members[entry["file"]]
        entry["sha256"], entry["size"] = hashlib.sha256(data).hexdigest(), len(data)
    target.write_bytes(zipped([("manifest.json", json.dumps(manifest).encode()), *members.items()]))
    return target


def no_graph(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    """A graph that no runtime takes."""
    manifest["version"] = "9.9.9"
    members[manifest["graphs"][0]["file"]] = b"\0\0\0\0TFL3" + b"no graph" * 20


def other_channels(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    """The same bundle for a sensor that calls its first channel otherwise."""
    manifest["input"]["channels"][0]["name"] = "speed"


def no_prefilter(manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    """A prefilter that cannot be read."""
    no_graph(manifest, members)
    members[manifest["prefilter"]["file"]] = b"no arrays"


# Which model watches.


def test_the_graph_of_the_bundle_watches(tmp_path: Path, pump_bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    bench.read(Pump(seed=11).take(60))
    assert (bench.state.anomaly, bench.state.fault, bench.state.detail) == ("OFF", None, "")
    health = bench.watched.health()
    assert (health.state, health.model) == ("normal", "gaussian")
    assert health.infer_p95_ms > 0
    assert bench.watched.info().grade == "provisional"


def test_the_channels_of_the_bundle_are_the_sources_unless_told(tmp_path: Path, pump_bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle), channels=())
    assert bench.watched.info().channels == ("flow", "pressure", "current", "vibration", "temperature")


def test_the_bundle_before_watches_where_no_graph_of_the_installed_one_runs(tmp_path: Path, pump_bundle: Path) -> None:
    slots = Slots(tmp_path / "slots")
    slots.install(pump_bundle)
    slots.install(changed(pump_bundle, tmp_path / "new.bundle", no_graph))
    bench = Bench(tmp_path)
    bench.read(Pump(seed=11).take(60))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", None)
    assert "9.9.9" in bench.state.detail
    assert "9.9.9" in bench.watched.health().detail
    assert bench.watched.info().model.version != "9.9.9"


def test_the_bundle_before_watches_where_the_installed_one_cannot_be_read(tmp_path: Path, pump_bundle: Path) -> None:
    slots = Slots(tmp_path / "slots")
    slots.install(pump_bundle)
    (tmp_path / "rubbish").write_bytes(b"rubbish")
    slots.install(tmp_path / "rubbish")
    bench = Bench(tmp_path)
    bench.read(Pump(seed=11).take(60))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", None)
    assert "watches, since" in bench.state.detail


def test_a_bundle_before_for_other_channels_is_not_used(tmp_path: Path, pump_bundle: Path) -> None:
    slots = Slots(tmp_path / "slots")
    slots.install(changed(pump_bundle, tmp_path / "old.bundle", other_channels))
    slots.install(changed(pump_bundle, tmp_path / "new.bundle", no_graph))
    bench = Bench(tmp_path)
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault == "model"
    assert "speed" in bench.state.detail


def test_the_bundles_gaussian_watches_where_no_graph_runs(tmp_path: Path, pump_bundle: Path) -> None:
    bundle = changed(pump_bundle, tmp_path / "new.bundle", no_graph)
    bench = Bench(tmp_path, bundle=str(bundle))
    bench.read(Pump(seed=11).take(60))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", "model")
    assert bench.alerts.kinds() == ["model_fault"]
    assert bench.watched.health().state == "model"


def test_a_bundle_without_anything_that_works_leaves_the_device_learning(tmp_path: Path, pump_bundle: Path) -> None:
    bundle = changed(pump_bundle, tmp_path / "new.bundle", no_prefilter)
    bench = Bench(tmp_path, bundle=str(bundle))
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault == "calibrating"


def test_a_bundle_that_cannot_be_read_is_a_model_fault_once_something_is_learned(tmp_path: Path) -> None:
    (tmp_path / "rubbish.bundle").write_bytes(b"rubbish")
    bench = Bench(tmp_path, bundle=str(tmp_path / "rubbish.bundle"))
    bench.read(Pump(seed=11).take(260))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", "model")
    assert "rubbish.bundle" in bench.state.detail


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (PUMP_CHANNELS[1:], "wants"),
        ((PUMP_CHANNELS[1], PUMP_CHANNELS[0], *PUMP_CHANNELS[2:]), "in another order"),
    ],
    ids=["missing", "order"],
)
def test_channels_that_are_not_the_bundles_are_a_sensor_fault(
    tmp_path: Path, pump_bundle: Path, mine: tuple[Channel, ...], words: str
) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle), channels=mine)
    readings = Pump(seed=11).take(60)
    bench.read(dataclasses.replace(readings, values=readings.values[:, : len(mine)].copy()))
    assert (bench.state.anomaly, bench.state.fault) == (None, "sensor")
    assert words in bench.state.detail
    assert bench.alerts.kinds() == ["sensor_fault"]


@pytest.mark.parametrize(("unit", "told"), [("l/min", False), ("", False), ("m3/h", True)])
def test_another_unit_is_a_problem_and_an_untold_one_is_none(unit: str, told: bool) -> None:
    mine = (dataclasses.replace(PUMP_CHANNELS[0], unit=unit), *PUMP_CHANNELS[1:])
    assert bool(channel_problem(mine, PUMP_CHANNELS)) == bool(channel_problem(PUMP_CHANNELS, mine)) == told


def test_nothing_installed_is_no_problem(tmp_path: Path) -> None:
    found = find_bundle(StreamSettings(source=SOURCE), tmp_path)
    assert (found.bundle, found.problem) == (None, "")


# A watcher made again.


def test_a_watcher_made_again_runs_the_same_graph_without_choosing(
    tmp_path: Path, pump_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    asked: list[str] = []
    choose = graph_choice.choose
    monkeypatch.setattr(
        graph_choice, "choose", lambda bundle, settings: asked.append(settings.graph) or choose(bundle, settings)
    )
    bench.watched._make_watcher()
    assert asked == ["float32"]


def test_a_watcher_made_again_goes_on_with_the_open_events(tmp_path: Path, pump_bundle: Path) -> None:
    bench, pump = Bench(tmp_path, bundle=str(pump_bundle)), broken_pump()
    bench.read(pump.take(100))
    bench.watched._make_watcher()
    bench.read(pump.take(60))
    assert bench.state.anomaly == "ON"
    assert len({event.id for event in bench.alerts.events}) == 1


def test_an_event_goes_on_after_a_restart_of_the_agent(tmp_path: Path, pump_bundle: Path) -> None:
    alerts, pump = KeptAlerts(), broken_pump()
    Bench(tmp_path, alerts, bundle=str(pump_bundle)).read(pump.take(100))
    Bench(tmp_path, alerts, bundle=str(pump_bundle)).read(pump.take(100))
    assert alerts.kinds().count("anomaly") == 1


def test_a_watcher_made_again_keeps_what_was_recorded_to_learn_from(tmp_path: Path) -> None:
    bench, pump = Bench(tmp_path), Pump(seed=11)
    bench.read(pump.take(150))
    bench.watched._make_watcher()
    bench.read(pump.take(10))
    assert "160 of 200" in bench.state.detail


def test_a_watcher_made_again_knows_what_was_learned_though_no_disk_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(SiteModel, "save", fail)
    bench, pump = Bench(tmp_path), Pump(seed=11)
    bench.read(pump.take(220))
    bench.watched._make_watcher()
    bench.read(pump.take(30))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", None)


def test_a_graph_that_does_not_load_again_is_chosen_anew(
    tmp_path: Path, pump_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle))

    def fail(*_: object) -> None:
        raise ScoringError("no memory")

    monkeypatch.setattr(graph_choice, "choose", fail)
    bench.watched._make_watcher()
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault == "model"


# Learning.


def test_a_stream_without_a_model_learns_and_then_watches(tmp_path: Path) -> None:
    bench, pump = Bench(tmp_path), broken_pump(300)
    bench.read(pump.take(100))
    assert (bench.state.anomaly, bench.state.fault) == (None, "calibrating")
    assert bench.watched.info().grade is None
    bench.read(pump.take(150))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", None)
    bench.read(pump.take(100))
    assert bench.state.anomaly == "ON"
    assert (tmp_path / LEARNED_FILE).exists()


def test_what_was_learned_outlives_a_restart(tmp_path: Path) -> None:
    pump = Pump(seed=11)
    Bench(tmp_path).read(pump.take(220))
    bench = Bench(tmp_path)
    bench.read(pump.take(30))
    assert (bench.state.anomaly, bench.state.fault) == ("OFF", None)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"input": 1}'])
def test_what_was_learned_and_is_damaged_is_learned_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LEARNED_FILE).write_bytes(content)
    bench = Bench(tmp_path)
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault == "calibrating"


def test_what_was_learned_for_other_channels_is_learned_anew(tmp_path: Path) -> None:
    Bench(tmp_path).read(Pump(seed=11).take(220))
    renamed = (Channel(name="speed"), *PUMP_CHANNELS[1:])
    bench = Bench(tmp_path, channels=renamed)
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault == "calibrating"


def test_silence_while_learning_is_an_event_that_ends_with_the_readings(tmp_path: Path) -> None:
    bench, pump = Bench(tmp_path), Pump(seed=11)
    bench.read(pump.take(20))
    bench.silent()
    assert bench.link.states[-1].fault == "no_data"
    bench.read(pump.take(100))
    assert bench.alerts.kinds() == ["sensor_fault", "sensor_ok"]


def test_an_anomaly_open_before_is_neither_closed_nor_forgotten_by_learning(tmp_path: Path, pump_bundle: Path) -> None:
    alerts, pump = KeptAlerts(), broken_pump()
    Bench(tmp_path, alerts, bundle=str(pump_bundle)).read(pump.take(100))
    opened = alerts.events[0].id
    bench = Bench(tmp_path, alerts)
    bench.silent()
    bench.read(pump.take(100))
    assert [each["id"] for each in alerts.open["pump"]] == [opened]
    assert "anomaly_cleared" not in alerts.kinds()


# On-site calibration.


def site_file(folder: Path, bundle: Path, **change: Any) -> SiteModel:
    """A calibration of this site with a threshold far up."""
    read = Bundle.read(bundle)
    spec = read.manifest.graphs[0]
    made = SiteModel(
        input=read.manifest.input,
        calibration=dataclasses.replace(spec.calibration, threshold=1e9),
        prefilter=read.prefilter().with_limits(0.0, 1e12),
        graph_sha256=spec.sha256,
    )
    made = dataclasses.replace(made, **change)
    made.save(folder / SITE_FILE)
    return made


def test_an_on_site_calibration_comes_before_the_bundles(tmp_path: Path, pump_bundle: Path) -> None:
    site_file(tmp_path, pump_bundle)
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    assert bench.watched.pipeline.calibration.threshold == 1e9
    bench.read(broken_pump().take(100))
    assert (bench.state.anomaly, bench.state.detail) == ("OFF", "")


@pytest.mark.parametrize("kind", ["graph", "input", "history", "damaged"])
def test_an_on_site_calibration_that_does_not_fit_is_not_used_and_said(
    tmp_path: Path, pump_bundle: Path, kind: str
) -> None:
    made = site_file(tmp_path, pump_bundle)
    if kind == "graph":
        site_file(tmp_path, pump_bundle, graph_sha256="1" * 64)
    elif kind == "input":
        site_file(tmp_path, pump_bundle, input=dataclasses.replace(made.input, hold=made.input.hold + 1))
    elif kind == "history":
        normal = dataclasses.replace(made.calibration.normal, n=1, m=1)
        site_file(tmp_path, pump_bundle, calibration=dataclasses.replace(made.calibration, normal=normal))
    else:
        (tmp_path / SITE_FILE).write_text("{")
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    bench.read(broken_pump().take(100))
    assert bench.state.anomaly == "ON"
    assert "alibrat" in bench.state.detail


def test_the_graph_that_was_calibrated_on_site_is_preferred(tmp_path: Path, pump_bundle: Path) -> None:
    site_file(tmp_path, pump_bundle)
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    assert bench.watched._graphs.preferred(Bundle.read(pump_bundle)) == "float32"


def test_a_preferred_graph_that_does_not_run_leaves_any_other(
    tmp_path: Path, pump_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(bundle: Bundle, settings: ScoringSettings) -> Any:
        if settings.graph != "auto":
            raise ScoringError("not this one")
        return really(bundle, settings)

    really = graph_choice.choose
    monkeypatch.setattr(graph_choice, "choose", choose)
    site_file(tmp_path, pump_bundle)
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault is None


# The rest.


def test_silence_is_three_readings_and_at_least_ten_seconds(tmp_path: Path, pump_bundle: Path) -> None:
    watched = Bench(tmp_path, bundle=str(pump_bundle)).watched
    assert watched.stream.reader.no_data_s == 10
    settings = StreamSettings(source=SOURCE)
    assert silence_s(settings, 1 / 180) == 540
    assert silence_s(settings, 1000.0) == 10


def test_silence_of_a_sensor_that_nobody_knows_is_ten_minutes(tmp_path: Path) -> None:
    assert Bench(tmp_path).watched.stream.reader.no_data_s == 600


def test_silence_that_is_set_is_kept(tmp_path: Path, pump_bundle: Path) -> None:
    assert Bench(tmp_path, bundle=str(pump_bundle), no_data_s=77.0).watched.stream.reader.no_data_s == 77


def test_a_stream_that_decided_nothing_yet_is_starting(tmp_path: Path, pump_bundle: Path) -> None:
    health = Bench(tmp_path, bundle=str(pump_bundle)).watched.health()
    assert (health.state, health.sample_age_s) == ("starting", None)


def test_an_anomaly_is_a_state(tmp_path: Path, pump_bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    bench.read(broken_pump().take(100))
    assert bench.watched.state() == "anomaly"


def test_a_call_of_the_scorer_is_expected_to_return(tmp_path: Path, pump_bundle: Path) -> None:
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    bench.supervision.log.clear()
    bench.read(Pump(seed=11).take(16), size=16)
    assert bench.supervision.log == ["+pump scorer", "-pump scorer", "+pump-watcher"]


def test_a_scorer_that_is_stuck_is_waited_for_by_name(tmp_path: Path, pump_bundle: Path) -> None:
    stream, supervision = Bench(tmp_path, bundle=str(pump_bundle)).watched.stream, Watched()
    waiting: list[set[str]] = []
    answers = Answers(lambda _: waiting.append(set(supervision.waiting)) or 0.0, *broken(1))
    scorer = SupervisedScorer(answers, stream, supervision)
    scorer.score(np.zeros((1, 1), np.float32))
    with pytest.raises(ScoringError):
        scorer.score(np.zeros((1, 1), np.float32))
    assert waiting == [{"pump scorer"}]
    assert supervision.waiting == {"pump-watcher"}


def test_a_bundle_whose_golden_data_cannot_be_read_is_no_reason_not_to_start(
    tmp_path: Path, pump_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BundleError("golden.npz is damaged")

    monkeypatch.setattr(Bundle, "golden", fail)
    bench = Bench(tmp_path, bundle=str(pump_bundle))
    bench.read(Pump(seed=11).take(60))
    assert bench.state.fault == "model"
    assert bench.clock.monotonic_ns() > NS
