"""How a fit leaves a run folder: written beside its final place and renamed at the end.

A broken fit leaves nothing that looks like a run, and replaces none that is there. Before it, the place is looked at
and all chance is seeded.
"""

from __future__ import annotations

import logging
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import keras
import tensorflow as tf

from training.data import DataError

logger = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and ask TensorFlow for reproducible kernels."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def check_place(out: Path) -> None:
    """Look at the place of a run before hours of work, and say which bundles go with the run that is there.

    Raises:
        DataError: `out` holds something that is not a run.
    """
    if out.name in {"", ".."}:
        raise DataError(f"{out} cannot be written beside: expected the name of a folder, such as runs/pump")
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / "run.json").is_file()):
        raise DataError(f"{out} exists and is not a run folder: give another --out")
    if bundles := sorted(path.name for path in out.glob("*.bundle")):
        logger.warning(
            "at the end the run in %s is replaced, and with it %s: copy them, or give another --out",
            out,
            ", ".join(bundles),
        )


def fresh_folder(out: Path) -> Path:
    """The folder to write in; `finish` gives it its name."""
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def finish(unfinished: Path, out: Path) -> None:
    """Put a complete run in place of one that may be there."""
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)


def tool_versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of the packages that decide what a fit gives."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "tensorflow", "keras", *packages)},
    }
