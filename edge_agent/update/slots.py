"""Where one stream's bundles live, and how one replaces another so that a power cut leaves the old or the new.

    slots/
      <sha256>.bundle     whole files only; the name is the digest
      current -> <sha256>.bundle
      previous -> <sha256>.bundle

Order of `install`: copy to a temporary file, fsync it, rename it to its digest, fsync the folder; swap `previous`, then
`current`, each by renaming a fresh link over it and an fsync of the folder; remove what neither names. At every instant
from the first install on, `current` names a whole file. Whether a bundle is any good is for the caller to find out.

Installed by root, files and folders get the owner of the folder they are in, so that the service may change them later.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_agent.contract.bundle import MAX_BUNDLE_BYTES
from edge_agent.errors import BundleError

_CHUNK_BYTES = 1 << 20
"""Bytes copied at a time: bounds the memory of an install."""

_SUFFIX = ".bundle"


class Slots:
    """The slots of one stream."""

    def __init__(self, folder: Path) -> None:
        """Take the stream's `slots/` folder; it is made by the first install."""
        self._folder = folder

    def current(self) -> Path | None:
        """Return the bundle to run, or None where none was installed."""
        return self._named_by("current")

    def previous(self) -> Path | None:
        """Return the bundle that ran before the current one, or None."""
        previous = self._named_by("previous")
        return None if previous == self.current() else previous

    def install(self, bundle: Path) -> Path:
        """Make a copy of `bundle` the current one; the one before becomes the previous.

        Installing the current bundle again changes nothing.

        Returns:
            The file in its slot.

        Raises:
            BundleError: the file cannot be read, is too large, or the disk does not take it; `current` is as before.
        """
        try:
            _make_folder(self._folder)
            with self._locked():
                slot = self._store(bundle)
                self._switch(slot)
        except OSError as error:
            raise BundleError(f"{bundle} was not installed in {self._folder}: {error}") from error
        return slot

    def back(self) -> Path:
        """Make the previous bundle the current one; what was current is forgotten.

        Raises:
            BundleError: there is no previous one, or the disk does not take the change.
        """
        previous = self.previous()
        if previous is None:
            raise BundleError(f"{self._folder} has no previous bundle to go back to: install one")
        try:
            with self._locked():
                self._point("current", previous)
                (self._folder / "previous").unlink(missing_ok=True)
                self._remove_unnamed()
        except OSError as error:
            raise BundleError(f"{self._folder} cannot go back to {previous.name}: {error}") from error
        return previous

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the slots; the lock goes with the process, so it is never left behind."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _store(self, bundle: Path) -> Path:
        """Copy the file to its slot, durable and whole before it has its name."""
        digest = hashlib.sha256()
        with bundle.open("rb") as source, self._incoming() as (target, temporary):
            copied = 0
            while chunk := source.read(_CHUNK_BYTES):
                copied += len(chunk)
                if copied > MAX_BUNDLE_BYTES:
                    raise BundleError(f"{bundle} has more than {MAX_BUNDLE_BYTES} bytes: not a bundle")
                digest.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
            slot = self._folder / f"{digest.hexdigest()}{_SUFFIX}"
            temporary.replace(slot)
        sync_folder(self._folder)
        return slot

    @contextmanager
    def _incoming(self) -> Iterator[tuple[BinaryIO, Path]]:
        """Give a temporary file to write to, which is gone afterwards unless it was renamed."""
        temporary = self._folder / "incoming.part"
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                _give_away(temporary)
                yield file, temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _switch(self, slot: Path) -> None:
        """Point `previous` at the bundle that runs, then `current` at the new one."""
        running = self.current()
        if running != slot:
            if running is not None:
                self._point("previous", running)
            self._point("current", slot)
        self._remove_unnamed()

    def _point(self, name: str, slot: Path) -> None:
        """Swap a link in one step, durably."""
        fresh = self._folder / f"{name}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(slot.name)
        fresh.replace(self._folder / name)
        sync_folder(self._folder)

    def _remove_unnamed(self) -> None:
        """Remove the bundles that neither link names."""
        keep = {self.current(), self.previous()}
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path not in keep:
                path.unlink(missing_ok=True)

    def _named_by(self, name: str) -> Path | None:
        """Return the whole file that a link names; a link out of the folder or to nothing counts as none."""
        try:
            target = self._folder / (self._folder / name).readlink().name
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINVAL, errno.ENOTDIR}:
                return None
            raise
        return target if target.is_file() else None


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, durably."""
    for path in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        path.mkdir(exist_ok=True)
        _give_away(path)
        sync_folder(path.parent)


def _give_away(path: Path) -> None:
    """Where root made it, let it belong to the owner of its folder."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
