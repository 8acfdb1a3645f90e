import dataclasses

import pytest

from edge_agent.config import _build
from edge_agent.errors import Problem
from edge_agent.sources.camera import CameraSettings, NetworkCameraSettings, cameras, fourcc
from edge_agent.sources.frame_settings import FRAME_KINDS
from edge_agent.sources.picamera import PicameraSettings
from edge_agent.sources.recorded import ImagesSettings, VideoSettings
from edge_agent.sources.settings import KINDS
from edge_agent.sources.synthetic_scene import SceneSettings

URL = "rtsp://camera.local/stream1"
REQUIRED = {
    "camera": {"device": "/dev/video0"},
    "network_camera": {"url": URL},
    "video": {"path": "x.mp4"},
    "images": {"path": "x"},
}


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CameraSettings, {"device": "video0"}, "device must be a path"),
        (CameraSettings, {"device": "/dev/video0", "width": 0}, "width must be between 1 and 16384, got 0"),
        (CameraSettings, {"device": "/dev/video0", "height": 99999}, "height"),
        (CameraSettings, {"device": "/dev/video0", "rate_hz": -1}, "rate_hz"),
        (CameraSettings, {"device": "/dev/video0", "pixel_format": "JPEG2"}, "four letters"),
        (CameraSettings, {"device": "/dev/video0", "stall_s": 0}, "stall_s"),
        (NetworkCameraSettings, {"url": "file:///etc/passwd"}, "scheme of url must be one of rtsp"),
        (NetworkCameraSettings, {"url": "concat:a|b"}, "scheme"),
        (NetworkCameraSettings, {"url": "rtsp:///stream"}, "must name a host"),
        (NetworkCameraSettings, {"url": "rtsp://anna:s3cret@camera"}, "set username and password_file"),
        (NetworkCameraSettings, {"url": URL, "password_file": "camera"}, "needs a username"),
        (NetworkCameraSettings, {"url": URL, "stall_s": 9}, "stall_s must be between 0.5 and 8"),
        (PicameraSettings, {"camera": 8}, "camera"),
        (VideoSettings, {"path": ""}, "path"),
        (VideoSettings, {"path": "x", "speed": float("nan")}, "speed"),
        (ImagesSettings, {"path": ""}, "path"),
        (ImagesSettings, {"path": "x", "rate_hz": 0}, "rate_hz"),
        (SceneSettings, {"width": 10}, "width"),
        (SceneSettings, {"fault": "gremlins"}, "fault must be one of"),
        (SceneSettings, {"fault_frames": 0}, "fault_frames"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_settings_are_known_by_their_kind_and_frozen(kind):
    settings = FRAME_KINDS[kind](**REQUIRED.get(kind, {}))
    assert settings.kind == kind
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, dataclasses.fields(settings)[0].name, "other")


def test_no_kind_is_a_kind_of_readings_too():
    assert not FRAME_KINDS.keys() & KINDS.keys()


def test_user_and_password_are_written_for_an_address_and_never_shown():
    settings = NetworkCameraSettings(url="http://camera:81/s?key=k3y", username="anna b")
    assert settings.address("a:/@b") == "http://anna%20b:a%3A%2F%40b@camera:81/s?key=k3y"
    assert settings.shown == "http://camera:81/s"


def test_an_address_without_a_user_stays_as_it_is():
    assert NetworkCameraSettings(url=URL).address("") == URL


def test_cameras_are_named_by_what_does_not_change(tmp_path):
    (tmp_path / "video0").touch()
    assert cameras(tmp_path / "by-id", tmp_path) == [str(tmp_path / "video0")]
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-cam").touch()
    assert cameras(tmp_path / "by-id", tmp_path) == [str(tmp_path / "by-id" / "usb-cam")]


def test_a_pixel_format_is_the_number_of_its_letters():
    assert fourcc("MJPG") == 0x47504A4D


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_every_setting_can_be_read_from_a_settings_file(kind):
    cls = FRAME_KINDS[kind]
    settings = cls(**REQUIRED.get(kind, {}))
    table = {field.name: getattr(settings, field.name) for field in dataclasses.fields(cls)}
    problems: list[Problem] = []
    assert _build(cls, table, "streams.view.source", problems) == settings
    assert problems == []
    assert _build(cls, {**table, "no_such": 1}, "streams.view.source", problems) is None
    assert "no_such" in str(problems[0])
