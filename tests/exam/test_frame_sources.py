"""One exam for every source of frames: the promises of `ports.FrameSource`, then what goes wrong with each."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import ClassVar

import cv2
import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.contract.opencv import opencv
from edge_agent.contract.records import NS
from edge_agent.errors import EndOfData, FrameError, SourceUnavailable
from edge_agent.ports import FrameSource
from edge_agent.sources import camera
from edge_agent.sources import opencv as sources_opencv
from edge_agent.sources.camera import CameraSettings, NetworkCameraSettings
from edge_agent.sources.frame_settings import make_frame_source
from edge_agent.sources.inspection import InspectionScene
from edge_agent.sources.picamera import PicameraSettings
from edge_agent.sources.pixels import FrameCounters, to_rgb
from edge_agent.sources.recorded import ImagesSettings, VideoSettings
from edge_agent.sources.synthetic_scene import SceneSettings
from tests.mjpeg_server import MjpegServer
from tests.virtual_clock import VirtualClock

WIDTH, HEIGHT, COUNT = 96, 64, 4
DEADLINE_READS = 100
SCENE = InspectionScene(1, WIDTH, HEIGHT)
PICTURES = [SCENE.pixels(number) for number in range(COUNT)]


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


class Rig:
    """A source of `COUNT` frames, and the far end of its cable."""

    finite = True
    tolerance = 12.0
    """Mean difference from the pictures that its compression may make."""

    def __init__(self, tmp_path, monkeypatch) -> None:
        self.clock = VirtualClock()
        self.source: FrameSource = self.make(tmp_path, monkeypatch)

    def read_all(self, count: int = COUNT):
        frames = []
        for _ in range(DEADLINE_READS):
            try:
                frame = self.source.read(0.5)
            except EndOfData:
                break
            frames += [] if frame is None else [frame]
            if not self.finite and len(frames) == count:
                break
        return frames

    def close(self) -> None:
        self.source.close()


class VideoRig(Rig):
    def make(self, tmp_path, monkeypatch):
        path = tmp_path / "video.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (WIDTH, HEIGHT))
        for picture in PICTURES:
            writer.write(np.ascontiguousarray(picture[..., ::-1]))
        writer.release()
        return make_frame_source(VideoSettings(path=str(path)), self.clock, self.clock.sleep)


class ImagesRig(Rig):
    tolerance = 0.0

    def make(self, tmp_path, monkeypatch):
        for i, picture in enumerate(PICTURES):
            (tmp_path / f"{i}.png").write_bytes(encoded(picture, ".png"))
        return make_frame_source(ImagesSettings(path=str(tmp_path)), self.clock, self.clock.sleep)


class SceneRig(Rig):
    tolerance = 0.0

    def make(self, tmp_path, monkeypatch):
        settings = SceneSettings(seed=1, width=WIDTH, height=HEIGHT, frames=COUNT)
        return make_frame_source(settings, self.clock, self.clock.sleep)


class FakeCapture:
    """OpenCV's side of a V4L2 device that plays a script: pictures, errors to raise, None for "no frame in time"."""

    script: ClassVar[list] = []

    def __init__(self, name, backend, settings):
        self.left = iter(type(self).script)

    def grab(self):
        self.item = next(self.left, None)
        return self.item is not None

    def retrieve(self):
        if isinstance(self.item, Exception):
            raise self.item
        return to_rgb(self.item, "bgr")

    def close(self):
        pass


class CameraRig(Rig):
    finite = False
    tolerance = 0.0

    def make(self, tmp_path, monkeypatch):
        self.node = tmp_path / "video0"
        self.node.touch()
        script = type("Scripted", (FakeCapture,), {"script": [picture[..., ::-1] for picture in PICTURES]})
        monkeypatch.setattr(camera, "VideoCapture", script)
        self.script = script.script
        return make_frame_source(CameraSettings(device=str(self.node)), self.clock, self.clock.sleep)


class FakePicamera:
    """The calls of picamera2 that the source makes, as its manual describes them."""

    script: ClassVar[list] = []

    def __init__(self, number):
        self.left = iter(self.script)
        self.started = False

    def create_video_configuration(self, *, main, controls):
        return {"main": main, "controls": controls}

    def configure(self, configuration):
        assert configuration["main"]["format"] == "BGR888"

    def start(self):
        self.started = True

    def capture_array(self, name, *, wait):
        assert self.started
        assert wait is False
        return name

    def wait(self, job, *, timeout):
        item = next(self.left, None)
        if item is None:
            raise TimeoutError
        if isinstance(item, Exception):
            raise item
        return item

    def close(self):
        self.started = False


class PicameraRig(Rig):
    finite = False
    tolerance = 0.0

    def make(self, tmp_path, monkeypatch):
        fake = type("Picamera2", (FakePicamera,), {"script": list(PICTURES)})
        self.script = fake.script
        monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=fake))
        return make_frame_source(PicameraSettings(), self.clock, self.clock.sleep)


class NetworkRig(Rig):
    finite = False

    def make(self, tmp_path, monkeypatch):
        self.server = MjpegServer([encoded(picture, ".jpg") for picture in PICTURES])
        return make_frame_source(NetworkCameraSettings(url=self.server.url, stall_s=0.5), SystemClock())

    def close(self):
        super().close()
        self.server.close()


RIGS = [VideoRig, ImagesRig, SceneRig, CameraRig, PicameraRig, NetworkRig]


@pytest.fixture(params=RIGS)
def rig(request, tmp_path, monkeypatch):
    rig = request.param(tmp_path, monkeypatch)
    yield rig
    rig.close()


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Makes rigs of one kind each."""
    made = []

    def make(kind):
        made.append(kind(tmp_path, monkeypatch))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def test_it_is_a_source_of_frames(rig):
    assert isinstance(rig.source, FrameSource)
    assert rig.source.lossless is rig.finite
    assert rig.source.own_time is rig.finite


def test_it_gives_its_pictures_in_order_as_rgb(rig):
    rig.source.open()
    frames = rig.read_all()
    assert len(frames) == COUNT
    for frame, picture in zip(frames, PICTURES, strict=True):
        assert frame.size == (WIDTH, HEIGHT)
        assert frame.pixels.flags.c_contiguous
        assert np.abs(frame.pixels.astype(int) - picture).mean() <= rig.tolerance


def test_frames_are_numbered_and_their_time_rises(rig):
    rig.source.open()
    frames = rig.read_all()
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert np.diff([frame.t_ns for frame in frames]).min() > 0
    assert len({frame.source for frame in frames}) == 1


def test_reading_before_opening_is_refused(rig):
    with pytest.raises(SourceUnavailable, match="open it first"):
        rig.source.read(0.0)


def test_reading_after_closing_is_refused(rig):
    rig.source.open()
    rig.source.close()
    with pytest.raises(SourceUnavailable, match="open it first"):
        rig.source.read(0.0)


def test_it_may_be_closed_before_opening_and_twice(rig):
    rig.source.close()
    rig.source.open()
    rig.source.close()
    rig.source.close()


def test_opened_again_it_gives_frames_and_numbers_them_on(rig):
    rig.source.open()
    first = rig.source.read(0.5)
    rig.source.close()
    rig.source.open()
    second = rig.source.read(0.5)
    assert first is not None
    assert second is not None
    assert second.number > first.number


def test_its_status_counts_the_frames(rig):
    rig.source.open()
    rig.read_all()
    status = rig.source.status()
    assert {"frames": COUNT, "frames_dropped": 0, "size_changes": 0}.items() <= status.items()
    assert (status["width"], status["height"]) == (WIDTH, HEIGHT)
    assert "last_error" not in status


def test_waiting_for_a_frame_takes_no_longer_than_allowed(rig):
    rig.source.open()
    for _ in range(3):
        rig.clock.slept_s.clear()
        rig.source.read(0.01)
        assert sum(rig.clock.slept_s) <= 0.01


def test_a_finite_source_says_that_it_has_ended_again_and_again(rig):
    if not rig.finite:
        pytest.skip("a camera has no end")
    rig.source.open()
    rig.read_all()
    for _ in range(2):
        with pytest.raises(EndOfData):
            rig.source.read(0.0)


@pytest.mark.parametrize("kind", [VideoRig, ImagesRig, SceneRig])
def test_frames_of_a_recording_come_at_its_pace(build, kind):
    rig = build(kind)
    rig.source.open()
    frames = rig.read_all()
    took_s = sum(rig.clock.slept_s)
    assert took_s == pytest.approx((frames[-1].t_ns - frames[0].t_ns) / NS, rel=0.01)


@pytest.mark.parametrize("kind", [CameraRig, PicameraRig])
def test_a_silent_camera_is_given_up_by_its_watchdog(build, kind):
    rig = build(kind)
    rig.source.open()
    rig.read_all()
    rig.clock.sleep(4.0)
    assert rig.source.read(0.0) is None
    rig.clock.sleep(1.5)
    with pytest.raises(SourceUnavailable, match="gave no frame for 5 s"):
        rig.source.read(0.0)


def test_an_unplugged_camera_is_gone_at_once(build):
    rig = build(CameraRig)
    rig.source.open()
    rig.read_all()
    rig.node.unlink()
    with pytest.raises(SourceUnavailable, match="unplugged"):
        rig.source.read(0.0)


def test_a_failing_camera_never_takes_a_whole_core(build):
    rig = build(CameraRig)
    rig.script.clear()
    rig.source.open()
    assert rig.source.read(0.5) is None
    assert rig.clock.slept_s == [camera.SHORTEST_WAIT_S]


def test_a_camera_module_that_breaks_is_opened_anew(build):
    rig = build(PicameraRig)
    rig.script[:] = [PICTURES[0], RuntimeError("no buffers")]
    rig.source.open()
    assert rig.source.read(0.5) is not None
    with pytest.raises(SourceUnavailable, match="went away: no buffers"):
        rig.source.read(0.5)


def test_a_stalled_stream_is_given_up_and_read_again_once_it_is_back(build):
    rig = build(NetworkRig)
    rig.source.open()
    rig.read_all(2)
    rig.server.stalled.set()
    with pytest.raises(SourceUnavailable, match="no frame in time"):
        rig.read_all(1000)
    rig.server.stalled.clear()
    rig.source.open()
    assert len(rig.read_all(2)) == 2
    assert rig.server.connections == 2


def test_a_stream_that_hangs_up_is_gone(build):
    rig = build(NetworkRig)
    rig.server.ended.set()
    rig.source.open()
    with pytest.raises(SourceUnavailable, match="ended"):
        rig.read_all(1000)


def test_a_stream_that_stalls_before_its_first_frame_does_not_open(build):
    rig = build(NetworkRig)
    rig.server.stalled.set()
    with pytest.raises(SourceUnavailable, match="does not open: is the camera on"):
        rig.source.open()


@pytest.mark.parametrize("rubbish", [b"rubbish" * 20, b"", b"\xff\xd8\xff\xd9", encoded(PICTURES[0], ".png")])
def test_rubbish_in_a_stream_is_no_frame_and_counted_and_the_stream_goes_on(build, rubbish):
    rig = build(NetworkRig)
    rig.server.pictures[:] = [rig.server.pictures[0]] * 2 + [rubbish]
    rig.source.open()
    frames = rig.read_all(6)
    assert len(frames) == 6
    for frame in frames:
        assert np.abs(frame.pixels.astype(int) - PICTURES[0]).mean() <= rig.tolerance
    assert rig.source.status()["frames_dropped"] >= 2
    assert "does not decode" in rig.source.status()["last_error"]
    assert rig.server.connections == 1


def test_a_stream_of_rubbish_alone_is_gone(build):
    rig = build(NetworkRig)
    rig.source.open()
    rig.server.pictures[:] = [b"rubbish" * 20]
    with pytest.raises(SourceUnavailable, match="ended"):
        rig.read_all(1000)
    assert rig.source.status()["frames_dropped"] == camera.MOST_BROKEN - 1


def test_a_stream_of_pictures_too_small_says_so_when_it_is_given_up(build):
    rig = build(NetworkRig)
    rig.server.pictures[:] = [encoded(np.zeros((4, 4, 3), np.uint8), ".jpg")]
    rig.source.open()
    with pytest.raises(SourceUnavailable, match=r"no frame that can be used .* got 4 x 4"):
        rig.read_all(1000)


def test_a_stream_of_pictures_too_large_is_refused_before_it_takes_the_memory(build, monkeypatch):
    rig = build(NetworkRig)
    rig.server.pictures[:] = [cv2.imencode(".jpg", np.zeros((8200, 8200), np.uint8))[1].tobytes()]
    turned: list[object] = []
    monkeypatch.setattr(sources_opencv, "_rgb", turned.append)
    source = make_frame_source(NetworkCameraSettings(url=rig.server.url, stall_s=8.0), SystemClock())
    source.open()
    assert source.read(0.5) is None
    source.close()
    assert source.status()["last_error"] == "a frame of 8200 x 8200, expected 67,108,864 pixels at most"
    assert not turned


@pytest.mark.parametrize("scale", [2, 0.5, (1, 3)])
def test_a_stream_that_changes_its_size_goes_on_at_the_first(build, scale):
    rig = build(NetworkRig)
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    other = encoded(cv2.resize(PICTURES[3], None, fx=across, fy=down, interpolation=cv2.INTER_AREA), ".jpg")
    rig.server.pictures[:] = [rig.server.pictures[0]] * 3 + [other] * 100
    rig.source.open()
    frames = rig.read_all(12)
    assert {frame.size for frame in frames} == {(WIDTH, HEIGHT)}
    assert np.abs(frames[-1].pixels.astype(int) - PICTURES[3]).mean() <= rig.tolerance
    rig.source.close()
    rig.server.pictures[:] = [other]
    rig.source.open()
    assert rig.read_all(1)[0].size == (WIDTH * across, HEIGHT * down)
    assert rig.source.status()["size_changes"] == 1


def test_a_grey_stream_is_read(build):
    rig = build(NetworkRig)
    grey = cv2.cvtColor(PICTURES[0], cv2.COLOR_RGB2GRAY)
    rig.server.pictures[:] = [encoded(np.dstack([grey] * 3), ".jpg"), cv2.imencode(".jpg", grey)[1].tobytes()]
    rig.source.open()
    for frame in rig.read_all(4):
        assert np.abs(frame.pixels.astype(int) - grey[..., np.newaxis]).mean() <= rig.tolerance


def test_a_password_is_used_and_never_shown(build, monkeypatch):
    rig = build(NetworkRig)
    rig.server.password = "s3cret/@"
    settings = NetworkCameraSettings(url=rig.server.url + "?key=k3y", username="anna", stall_s=0.5)
    source = make_frame_source(settings, SystemClock(), password="s3cret/@")
    source.open()
    frame = source.read(0.5)
    source.close()
    assert frame.source == rig.server.url
    wrong = make_frame_source(settings, SystemClock(), password="wr0ng")
    with pytest.raises(SourceUnavailable) as refused:
        wrong.open()
    assert not any(secret in str(refused.value) for secret in ("wr0ng", "anna", "k3y"))


HOSTILE_IMAGES = {
    "an empty file": lambda good: b"",
    "half a PNG": lambda good: good[: len(good) // 2],
    "half a JPEG": lambda good: encoded(PICTURES[0], ".jpg")[:900],
    "text": lambda good: b"sensor failed\n" * 10,
    "one pixel": lambda good: encoded(np.zeros((1, 1, 3), np.uint8), ".png"),
    "a picture that unpacks to gigabytes": lambda good: good[:16] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + good[24:],
}


@pytest.mark.parametrize("spoil", HOSTILE_IMAGES.values(), ids=HOSTILE_IMAGES.keys())
def test_an_image_that_cannot_be_used_is_dropped_counted_and_its_time_passes(build, tmp_path, spoil):
    rig = build(ImagesRig)
    (tmp_path / "1.png").write_bytes(spoil((tmp_path / "1.png").read_bytes()))
    rig.source.open()
    frames = rig.read_all()
    assert [frame.t_ns // NS for frame in frames] == [0, 2, 3]
    status = rig.source.status()
    assert status["frames_dropped"] == 1
    assert "1.png" in status["last_error"]


def test_images_come_in_the_order_of_the_numbers_in_their_names(tmp_path):
    for number in (1, 2, 3, 10, 11):
        cv2.imwrite(str(tmp_path / f"frame {number}.png"), np.full((8, 8, 3), number, np.uint8))
    frames = ImagesSettings(path=str(tmp_path)).frames(FrameCounters("images"))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 2, 3, 10, 11]


def test_images_may_differ_in_size_and_channels(build, tmp_path):
    rig = build(ImagesRig)
    grey = np.full((HEIGHT, WIDTH), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "1.png"), grey)
    cv2.imwrite(str(tmp_path / "2.png"), np.dstack([PICTURES[2][..., ::-1], grey]))
    cv2.imwrite(str(tmp_path / "3.png"), np.full((HEIGHT * 2, WIDTH, 3), 90 * 256 + 7, np.uint16))
    rig.source.open()
    frames = rig.read_all()
    assert np.array_equal(frames[1].pixels, np.dstack([grey] * 3))
    assert np.array_equal(frames[2].pixels, PICTURES[2])
    assert frames[3].size == (WIDTH, 2 * HEIGHT)
    assert (frames[3].pixels == 90).all()
    assert rig.source.status()["size_changes"] == 1


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 20, 2), np.uint8),
        np.zeros((20, 20, 5), np.uint8),
        np.zeros((20, 20, 3), np.float32),
        np.zeros(20, np.uint8),
        np.zeros((20, 7, 3), np.uint8),
        np.zeros((20, 0, 3), np.uint8),
    ],
    ids=lambda image: f"{image.dtype}{image.shape}",
)
def test_odd_pictures_are_refused(image):
    with pytest.raises(FrameError, match="expected"):
        to_rgb(image, "rgb")


def test_a_camera_that_gives_an_odd_picture_drops_it_and_goes_on(build):
    rig = build(CameraRig)
    rig.script[:] = [np.zeros((20, 20, 2), np.uint8), FrameError("a frame that does not decode"), PICTURES[0]]
    rig.source.open()
    assert [rig.source.read(0.1) is None for _ in range(3)] == [True, True, False]
    assert rig.source.status()["frames_dropped"] == 2


def test_a_frame_that_opencv_fails_on_is_dropped(monkeypatch, tmp_path):
    class Failing:
        """OpenCV's own, on a pixel format that it takes for another."""

        def __init__(self, *_: object) -> None:
            self.release = self.isOpened = self.grab = lambda: True

        def get(self, _: int) -> float:
            return 4.0

        def retrieve(self):
            return cv2.cvtColor(np.zeros((4, 4, 2), np.uint8), cv2.COLOR_BGR2RGB)

    monkeypatch.setattr(cv2, "VideoCapture", Failing)
    clock = VirtualClock()
    source = make_frame_source(CameraSettings(device=str(tmp_path)), clock, clock.sleep)
    source.open()
    assert source.read(0.5) is None
    assert "does not decode" in source.status()["last_error"]
    clock.sleep(6.0)
    with pytest.raises(SourceUnavailable, match=r"no frame that can be used .*does not decode"):
        source.read(0.5)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_truncated_video_gives_what_it_holds_or_does_not_open(build, tmp_path, share):
    rig = build(VideoRig)
    path = tmp_path / "video.avi"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        rig.source.open()
        frames = rig.read_all()
    except SourceUnavailable:
        frames = []
    assert len(frames) < COUNT
    assert all(frame.size == (WIDTH, HEIGHT) for frame in frames)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (CameraSettings(device="/dev/no-such-camera"), "is not there: plug it in"),
        (CameraSettings(device="/dev/null"), "it is no camera"),
        (VideoSettings(path="/no/such.mp4"), "name a video file"),
        (VideoSettings(path="pyproject.toml"), "is it a video"),
        (ImagesSettings(path="/no/such"), "cannot be read"),
        (ImagesSettings(path="edge_agent"), "holds no images"),
        (PicameraSettings(), "python3-picamera2"),
    ],
)
def test_what_does_not_open_says_what_to_do(settings, hint):
    clock = VirtualClock()
    source = make_frame_source(settings, clock, clock.sleep)
    with pytest.raises(SourceUnavailable, match=hint):
        source.open()


def test_without_opencv_its_sources_say_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "1.png").touch()
    monkeypatch.setitem(sys.modules, "cv2", None)
    opencv.cache_clear()
    try:
        for settings in (ImagesSettings(path=str(tmp_path)), CameraSettings(device="/dev/null")):
            with pytest.raises(SourceUnavailable, match=r"anomalite\[camera\]"):
                make_frame_source(settings, VirtualClock()).open()
    finally:
        opencv.cache_clear()


def run_alone(script: str) -> subprocess.CompletedProcess:
    """A process of its own: here OpenCV is long imported."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)


def test_opencv_is_told_its_limits_and_says_nothing_past_the_log():
    done = run_alone("""
import os
from edge_agent.clock import SystemClock
from edge_agent.errors import SourceUnavailable
from edge_agent.sources.frame_settings import VideoSettings, make_frame_source
try:
    make_frame_source(VideoSettings(path="pyproject.toml"), SystemClock()).open()
except SourceUnavailable:
    print(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"], end="")
""")
    assert (done.stdout, done.stderr) == (str(1 << 26), "")


def test_opencv_is_not_imported_before_a_source_of_its_own_is_opened():
    done = run_alone("""
import sys
from edge_agent.clock import SystemClock
from edge_agent.sources.frame_settings import CameraSettings, SceneSettings, make_frame_source
make_frame_source(CameraSettings(device="/dev/video0"), SystemClock())
scene = make_frame_source(SceneSettings(width=64, height=64), SystemClock())
scene.open()
print(scene.read(1.0).size, "cv2" in sys.modules, end="")
""")
    assert done.stdout == "(64, 64) False"
