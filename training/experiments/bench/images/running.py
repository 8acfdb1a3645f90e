"""The work: every entrant and control on every folder of images, in processes that keep TensorFlow loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.experiments.bench.digests import code_digest, digest
from training.experiments.bench.images.controls import CONTROLS, judged
from training.experiments.bench.images.data import ImageSet
from training.experiments.bench.images.entrants import ImageEntrant
from training.experiments.bench.images.outcome import ImageOutcome, keep, kept
from training.experiments.bench.keeping import fresh
from training.experiments.bench.running import kept_folder
from training.experiments.bench.work import attempted

MAKERS = (
    "training.experiments.bench.images.shipping",
    "training.experiments.bench.images.judging",
    "converters.tf_child",
)
"""Where a result is made, whatever the detector."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageTask:
    """An entrant or a control on a folder."""

    data: ImageSet
    entrant: ImageEntrant | None
    """None: a control."""
    name: str
    """Of the entrant or control."""
    seed: int
    """Of split and fit."""
    formats: tuple[str, ...]
    """That are judged."""
    out: Path

    @property
    def folder(self) -> Path:
        """Where its result is kept."""
        return kept_folder(self.out, self.data.name, self.name)

    @property
    def title(self) -> str:
        """Folder and entrant."""
        return f"{self.data.name} {self.name}"

    def key(self) -> str:
        """Digest of all that the result depends on."""
        if self.entrant is None:
            return digest(self.name, str(self.seed), self.data.digest, code_digest(judged.__module__, ()))
        code = code_digest(self.entrant.module, MAKERS)
        return digest(self.entrant.recipe_text(self.seed), *self.formats, self.data.digest, code)


def tasks(
    data: Sequence[ImageSet], entrants: Sequence[ImageEntrant], seed: int, formats: Sequence[str], out: Path
) -> list[ImageTask]:
    """All the work, in the order of the tables."""
    named: list[tuple[str, ImageEntrant | None]] = [(each.name, each) for each in entrants]
    named += [(name, None) for name in CONTROLS]
    return [
        ImageTask(data=each, entrant=entrant, name=name, seed=seed, formats=tuple(formats), out=out)
        for each in data
        for name, entrant in named
    ]


def outcome_of(task: ImageTask) -> ImageOutcome:
    """What comes of a task: kept, or made and kept."""
    key = task.key()
    if (known := kept(task.folder, key)) is not None:
        return known
    folder = fresh(task.folder)
    outcome, settled = attempted(folder, lambda: _made(task, folder), lambda reason: ImageOutcome(reason=reason))
    if settled:
        keep(folder, key, outcome)
    return outcome


def _made(task: ImageTask, folder: Path) -> ImageOutcome:
    if task.entrant is None:
        return judged(CONTROLS[task.name], task.data, task.seed)
    # Imported here: TensorFlow is for the workers alone.
    from training.experiments.bench.images.judging import judge
    from training.experiments.bench.images.shipping import ship

    start_s = time.monotonic()
    made = ship(task.entrant, task.data, task.seed, task.formats, folder / "work")
    (folder / "model.bundle").write_bytes(made.data)
    return judge(made, start_s)
