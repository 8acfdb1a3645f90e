"""A detector in one file: `<name>-<version>.bundle`, a zip of `manifest.json` and the members that it names.

Reading trusts nothing. In this order: size of the file; the zip's own tables (count, sizes, ratio, names, no links, no
encryption) before anything is unpacked; the manifest; then exactly the members it names, each of the size and SHA-256
it states. Only then can bytes reach a runtime. The bundle stays in memory: nothing is ever extracted to disk.

There are two kinds, for sensors (`Bundle`) and for cameras (`FrameBundle`); they differ in the manifest and in what the
members hold. Whatever the bytes, `read` gives a bundle or a BundleError whose message a technician can act on.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.arrays import read_npz
from edge_agent.contract.frame_manifest import MAX_MAP_CELLS, FrameManifest
from edge_agent.contract.manifest import Manifest
from edge_agent.contract.manifest_base import FILE, MAX_MANIFEST_BYTES, MemberNamed, kind_of, parse_manifest
from edge_agent.contract.prefilter import Prefilter
from edge_agent.errors import BundleError, DigestMismatch, ManifestError

MANIFEST = "manifest.json"
"""The member that names all others; the first in the file."""

MAX_BUNDLE_BYTES = 64 << 20
"""Size of the file, and of everything unpacked together: ten times the largest detector planned, and fits a 512 MB
device."""

MAX_MEMBERS = 16
"""Files in the bundle: manifest, four formats, prefilter, golden data, report, with room to spare."""

MAX_DIRECTORY_BYTES = 4096
"""The zip's table of contents; 16 members of 100 characters need some 2.4 kB. Bounds what the zip reader builds from
it."""

MAX_RATIO = 200
"""Unpacked to packed size of a member; reports and manifests reach 10, repeated golden data 50, a zip bomb 1000."""

_END = struct.Struct("<4s4H2IH")
"""The end record of a zip: signature, disks, entries, size and offset of the table of contents, length of the
comment."""


M = TypeVar("M", Manifest, FrameManifest)
AnyManifest = TypeVar("AnyManifest", bound=Manifest | FrameManifest)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseBundle(Generic[M]):
    """A bundle of any kind that was read and checked."""

    manifest: M
    members: dict[str, bytes]
    """Contents by file name, without the manifest."""
    sha256: str
    """Digest of the whole file, hexadecimal: the identity of the bundle."""

    def graph(self, graph_format: str) -> bytes:
        """The `.tflite` of a format; ManifestError when the bundle has none."""
        return self.members[self.manifest.graph(graph_format).file]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle(BaseBundle[Manifest]):
    """A bundle for sensors."""

    @classmethod
    def read(cls, source: Path | str | bytes) -> Bundle:
        """Read and check a bundle for sensors.

        Args:
            source: a path, or the bytes of the file.

        Raises:
            UnsupportedFormat: made for a newer agent.
            DigestMismatch: a member is not the one the manifest names.
            ManifestError: the bundle is for a camera, or the manifest or a member is missing, malformed or beyond a
                limit.
            BundleError: the file cannot be read, is not a bundle, or is not safe to unpack.
        """
        manifest, members, sha256 = _read(source, Manifest.from_dict)
        return cls(manifest=manifest, members=members, sha256=sha256)

    def prefilter(self) -> Prefilter:
        """The Gaussian in front of the network.

        Raises:
            ManifestError: its arrays are not those of a prefilter.
        """
        return Prefilter.from_npz(self.members[self.manifest.prefilter.file])

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Golden inputs (`windows` or `sequence`) and `score_<format>` for every graph.

        Raises:
            ManifestError: the arrays are not what the manifest's graphs need.
        """
        file = self.manifest.golden.file
        arrays = read_npz(self.members[file], file)
        name = "sequence" if self.manifest.input.streaming else "windows"
        inputs, channels = arrays.get(name), len(self.manifest.input.channels)
        if inputs is None or inputs.dtype != np.float32 or inputs.shape[2:] != (channels,) or not inputs.size:
            raise ManifestError(f"{file} must hold `{name}` float32 [g, rows, {channels}]: build the bundle again")
        for graph in self.manifest.graphs:
            scores = arrays.get(f"score_{graph.format}")
            if not _is_golden(scores) or scores.shape[:1] != inputs.shape[:1]:
                raise ManifestError(f"{file} must hold finite `score_{graph.format}` float32, one per input")
        return arrays


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameBundle(BaseBundle[FrameManifest]):
    """A bundle for a camera."""

    @classmethod
    def read(cls, source: Path | str | bytes) -> FrameBundle:
        """Read and check a bundle for a camera; arguments and errors as `Bundle.read`, the other way round."""
        manifest, members, sha256 = _read(source, FrameManifest.from_dict)
        return cls(manifest=manifest, members=members, sha256=sha256)

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Golden inputs and what every graph must give for them.

        Returns:
            `frames` uint8 [g, H, W, 3], of a streaming detector `sequences` uint8 [g, L, H, W, 3]; for every graph
            `score_<format>` float32 [g] or [g, L], where it has a map `map_<format>` float32 [g, h, w], and where it
            tells C kinds apart `kinds_<format>` float32 [g, h, w, C], without a map [g, 1, 1, C]; of a streaming
            detector those of each sequence's last frame.

        Raises:
            ManifestError: the arrays are not what the manifest's graphs need.
        """
        file, wanted = self.manifest.golden.file, self.manifest.input
        arrays = read_npz(self.members[file], file)
        name, axes = ("sequences", "g, L") if wanted.streaming else ("frames", "g")
        inputs, leading = arrays.get(name), axes.count(",") + 1
        shape = (wanted.height, wanted.width, 3)
        if inputs is None or inputs.dtype != np.uint8 or inputs.shape[leading:] != shape or not inputs.size:
            raise ManifestError(
                f"{file} must hold `{name}` uint8 [{axes}, {wanted.height}, {wanted.width}, 3]: build the bundle again"
            )
        counts = inputs.shape[:leading]
        for graph in self.manifest.graphs:
            scores, maps = arrays.get(f"score_{graph.format}"), arrays.get(f"map_{graph.format}")
            if not _is_golden(scores) or scores.shape != counts:
                raise ManifestError(f"{file} must hold finite `score_{graph.format}` float32 {list(counts)}")
            if graph.map is not None and (not _is_golden(maps) or not _are_maps(maps.shape, counts[0])):
                raise ManifestError(
                    f"{file} must hold finite `map_{graph.format}` float32 [{counts[0]}, h, w] of at most "
                    f"{MAX_MAP_CELLS} cells each"
                )
            if graph.kinds is not None:
                cells = (counts[0], 1, 1) if maps is None or graph.map is None else maps.shape
                _check_kinds(arrays.get(f"kinds_{graph.format}"), (*cells, len(wanted.classes)), graph.format, file)
        return arrays


def read_bundle(source: Path | str | bytes) -> Bundle | FrameBundle:
    """Read and check a bundle of either kind; arguments and errors as `Bundle.read`."""
    manifest, members, sha256 = _read(source, _any_manifest)
    if isinstance(manifest, FrameManifest):
        return FrameBundle(manifest=manifest, members=members, sha256=sha256)
    return Bundle(manifest=manifest, members=members, sha256=sha256)


def _any_manifest(value: dict[str, Any]) -> Manifest | FrameManifest:
    """Build the manifest of the kind that it says it is."""
    return FrameManifest.from_dict(value) if kind_of(value) == FrameManifest.KIND else Manifest.from_dict(value)


def _is_golden(array: NDArray[np.generic] | None) -> TypeGuard[NDArray[np.float32]]:
    return array is not None and array.dtype == np.float32 and bool(np.isfinite(array).all())


def _check_kinds(array: NDArray[np.generic] | None, shape: tuple[int, ...], graph_format: str, file: str) -> None:
    if not _is_golden(array) or array.shape != shape:
        raise ManifestError(f"{file} must hold finite `kinds_{graph_format}` float32 {list(shape)}")


def _are_maps(shape: tuple[int, ...], count: int) -> bool:
    return len(shape) == 3 and shape[0] == count and 0 < shape[1] * shape[2] <= MAX_MAP_CELLS  # noqa: PLR2004 - [g, h, w]


def _read(
    source: Path | str | bytes, build: Callable[[dict[str, Any]], AnyManifest]
) -> tuple[AnyManifest, dict[str, bytes], str]:
    """Return the manifest, the members by file name and the digest of the file; errors as `Bundle.read`.

    Args:
        source: a path, or the bytes of the file.
        build: makes the manifest of what its JSON says.
    """
    data = source if isinstance(source, bytes) else _file(Path(source))
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleError(f"the bundle has {len(data)} bytes, at most {MAX_BUNDLE_BYTES} are read")
    _check_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = _check_contents(archive.infolist())
            manifest = build(parse_manifest(_member(archive, infos, MANIFEST, MAX_MANIFEST_BYTES)))
            members = _named(archive, infos, manifest.members())
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        raise BundleError(f"the file is damaged: {error}; copy it again and compare its SHA-256") from error
    return manifest, members, hashlib.sha256(data).hexdigest()


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _check_end(data: bytes) -> None:
    """The table of contents must be small and end the file: no comment, no 64-bit forms, nothing appended."""
    if len(data) < _END.size or not data.startswith(b"PK\x03\x04"):
        raise BundleError("the file is not a bundle: it does not begin as a zip; was it copied whole?")
    signature, _, _, _, entries, size, _, comment = _END.unpack(data[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise BundleError(
            "the file is truncated, or something was appended to it: copy it again and compare its SHA-256"
        )
    if entries > MAX_MEMBERS or size > MAX_DIRECTORY_BYTES or data[-_END.size - 20 :][:4] == b"PK\x06\x07":
        raise BundleError(
            f"the bundle lists {entries} files in {size} bytes, at most {MAX_MEMBERS} in {MAX_DIRECTORY_BYTES} are read"
        )


def _check_contents(infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Judge every member by the table of contents, before anything is unpacked."""
    seen: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        _check_name(info)
        if info.filename in seen:
            raise BundleError(f"the bundle holds {info.filename!r} twice: it is not clear which is meant")
        if info.file_size > MAX_RATIO * max(info.compress_size, 1):
            raise BundleError(
                f"{info.filename!r} unpacks to {info.file_size} bytes from {info.compress_size}, "
                f"more than {MAX_RATIO} times: refused as a zip bomb"
            )
        seen[info.filename] = info
    total = sum(info.file_size for info in infos)
    if total > MAX_BUNDLE_BYTES or len(infos) > MAX_MEMBERS:
        raise BundleError(
            f"the bundle unpacks to {len(infos)} files of {total} bytes, "
            f"at most {MAX_MEMBERS} of {MAX_BUNDLE_BYTES} are read"
        )
    return seen


def _check_name(info: zipfile.ZipInfo) -> None:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise BundleError(f"the bundle holds {name[:120]!r}, a path that leads out of it: refused")
    if FILE.fullmatch(name) is None:
        raise BundleError(f"the bundle holds {name[:120]!r}: only plain file names without folders are read")
    if kind not in (0, stat.S_IFREG):
        raise BundleError(f"the bundle holds {name!r} as a link or special file: refused")
    if info.flag_bits & 0x1:
        raise BundleError(f"the bundle holds {name!r} encrypted: refused")


def _member(archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo], name: str, limit: int) -> bytes:
    """Unpack at most `limit` bytes, whatever the table of contents says."""
    if name not in infos:
        raise ManifestError(f"the bundle holds no {name}: it was not made by this converter or is incomplete")
    if infos[name].file_size > limit:
        raise ManifestError(f"{name} has {infos[name].file_size} bytes, at most {limit} are read")
    with archive.open(infos[name]) as member:
        return member.read(limit + 1)


def _named(
    archive: zipfile.ZipFile, infos: dict[str, zipfile.ZipInfo], named: Iterable[MemberNamed]
) -> dict[str, bytes]:
    """Read exactly the members the manifest names, each of the size and digest it states."""
    members: dict[str, bytes] = {}
    for member in named:
        data = _member(archive, infos, member.file, MAX_BUNDLE_BYTES)
        digest = hashlib.sha256(data).hexdigest()
        if len(data) != member.size or digest != member.sha256:
            raise DigestMismatch(
                f"{member.file} is not the file the manifest names: {len(data)} bytes with SHA-256 {digest[:16]}…, "
                f"expected {member.size} with {member.sha256[:16]}…; copy or build the bundle again"
            )
        members[member.file] = data
    extra = sorted(set(infos) - set(members) - {MANIFEST})
    if extra:
        raise ManifestError(f"the bundle holds files that its manifest does not name: {', '.join(extra)}")
    return members
