"""One file from a manifest and its members: fixed order, fixed times, so that the same contents give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edge_agent.contract.arrays import EPOCH
from edge_agent.contract.bundle import MANIFEST, read_bundle
from edge_agent.contract.frame_manifest import FrameManifest
from edge_agent.contract.manifest import Manifest, Member


def member(file: str, data: bytes) -> Member:
    """What the manifest says of a file."""
    return Member(file=file, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def pack(manifest: Manifest | FrameManifest, members: Mapping[str, bytes]) -> bytes:
    """Write a bundle, and read it as the device will.

    Raises:
        BundleError: the device would refuse it.
    """
    text = json.dumps(manifest.to_dict(), indent=1, allow_nan=False, ensure_ascii=False).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, data in [(MANIFEST, text), *((named.file, members[named.file]) for named in manifest.members())]:
            info = zipfile.ZipInfo(file, date_time=EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.create_system = 3
            archive.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    data = buffer.getvalue()
    read_bundle(data)
    return data


def write(path: Path, data: bytes) -> None:
    """Replace the file as a whole: no reader ever sees half a bundle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
