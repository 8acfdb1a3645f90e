"""`record` of a camera: frames as images into a folder `normal`, as training takes them.

Frames of a camera that is not well (dark, covered, frozen, moved, out of focus) are left out and counted: what is in
the folder is learned as normal.

An image is written under another name and renamed, so that whatever ends the recording leaves whole images. Names are
the reading time, so that several recordings can share a folder and the order of names is that of time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.cli.parser import EXIT_FAILED
from edge_agent.cli.reading import frames_for, open_camera, tell_losses
from edge_agent.cli.recording import DiskFailed, RecordingFull, ended_by_signals, stopped
from edge_agent.config import Settings
from edge_agent.contract.frames import Frame
from edge_agent.contract.opencv import opencv
from edge_agent.contract.records import NS
from edge_agent.contract.words import counted
from edge_agent.errors import EdgeAgentError
from edge_agent.vision.camera_health import CameraFault, CameraHealth

NORMAL: Final = "normal"
"""Folder of normal images, as `python -m training init` looks for it."""
QUALITY: Final = 95
"""JPEG quality: what is lost is below a sensor's noise, and a tenth of a PNG's size."""


class FrameRecording:
    """Images in a folder.

    Args:
        folder: to write into; `normal` is made in it.
        suffix: `.jpg` or `.png`.
        every_s: shortest time between two images, seconds of reading time.
        max_bytes: of all images of this recording.

    Raises:
        EdgeAgentError: the folder cannot be made.
    """

    def __init__(self, folder: Path, suffix: str, every_s: float, max_bytes: float) -> None:
        self.count = self.bytes = 0
        self._folder, self._suffix = folder / NORMAL, suffix
        self._every_ns, self._max_bytes = round(every_s * NS), max_bytes
        self._last_ns: int | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeAgentError(f"{self._folder} cannot be made: {error.strerror}") from error

    def add(self, frame: Frame) -> None:
        """Write a frame, unless the one before is younger than `every_s`.

        Raises:
            RecordingFull: of the size allowed, or of the disk.
        """
        if self._last_ns is not None and 0 <= frame.t_ns - self._last_ns < self._every_ns:
            return
        self._last_ns = frame.t_ns
        data = _encoded(frame, self._suffix)
        if self.bytes + len(data) > self._max_bytes:
            raise RecordingFull(f"{self._folder} got {self.bytes / 1e6:.3g} of {self._max_bytes / 1e6:g} MB (--max-mb)")
        path = self._folder / f"{_name(frame.t_ns)}{self._suffix}"
        part = path.with_suffix(".part")
        try:
            part.write_bytes(data)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DiskFailed(f"{path} cannot be written: {error.strerror}") from error
        self.count += 1
        self.bytes += len(data)


def record_frames(arguments: argparse.Namespace, settings: Settings, stream: str) -> int:
    """Write frames as images; exit code 1 where none came, or where the disk did not take them."""
    source = open_camera(settings, stream)
    suffix = ".png" if arguments.png else ".jpg"
    recording = FrameRecording(Path(arguments.out), suffix, arguments.every_s, arguments.max_mb * 1e6)
    health, left_out = CameraHealth(settings.streams[stream].camera.health), Counter[str]()
    unwell: CameraFault | None = None
    begun, ended = time.monotonic(), "time"
    try:
        with ended_by_signals():
            for frame in frames_for(source, arguments.duration_s, f"recording {stream}"):
                check = health.feed(frame.pixels, frame.t_ns)
                unwell, before = check.fault or check.suspected, unwell
                if unwell is None:
                    recording.add(frame)
                    continue
                left_out[str(unwell)] += 1
                if before is None:
                    print(
                        f"the camera is {unwell}: frames are left out until it is well. Set up anew? Record anew",
                        file=sys.stderr,
                    )
    except KeyboardInterrupt:
        ended = "interrupted"
    except RecordingFull as error:
        ended = stopped(error)
    report = {
        "folder": arguments.out,
        "images": recording.count,
        "bytes": recording.bytes,
        "frames_left_out": dict(left_out),
        "seconds": round(time.monotonic() - begun, 1),
        "ended": ended,
    }
    told = report | tell_losses(source)
    if arguments.json:
        print(json.dumps(told, indent=2))
    elif recording.count:
        said = f"{recording.count} images, {recording.bytes / 1e6:.3g} MB, in {report['seconds']:.0f} s"
        print(f"{arguments.out}/{NORMAL}: {said}, ended by: {ended}")
        if left_out:
            print(f"left out, since the camera was not well: {_told(left_out)}")
        print(f"next, on the workstation: python -m training init {Path(arguments.out).name}")
    elif left_out:
        print(f"nothing to record, since the camera was not well: {_told(left_out)}", file=sys.stderr)
    else:
        print("no frame came; try: edge-agent check", file=sys.stderr)
    return EXIT_FAILED if not recording.count or ended == "disk" else 0


def _told(left_out: Counter[str]) -> str:
    return ", ".join(f"{counted(count, 'frame')} {unwell}" for unwell, count in left_out.items())


def _encoded(frame: Frame, suffix: str) -> bytes:
    try:
        cv2 = opencv()
    except ImportError as error:
        raise EdgeAgentError(str(error)) from error
    bgr = np.ascontiguousarray(frame.pixels[..., ::-1])
    done, data = cv2.imencode(suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if suffix == ".jpg" else [])
    if not done:
        raise EdgeAgentError(f"a frame of {frame.size[0]} x {frame.size[1]} pixels cannot be encoded as {suffix}")
    return bytes(data)


def _name(t_ns: int) -> str:
    """Return reading time as a file name, to the millisecond."""
    return datetime.fromtimestamp(t_ns / NS, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3].replace(".", "-")
