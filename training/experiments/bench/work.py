"""Work spread over processes: tasks at so many a time, with a bar, and what fails told instead of ending the rest."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from tqdm import tqdm

from converters.refusal import Refused
from edge_agent.errors import EdgeAgentError
from training.artifacts import RunError
from training.data import DataError
from training.recipe import RecipeError

EXPECTED = (DataError, RecipeError, RunError, Refused, EdgeAgentError)
"""Failures that say what is wrong with data, recipe or graph."""


class Titled(Protocol):
    """A task that can be named."""

    @property
    def title(self) -> str:
        """What the bar calls it."""


W = TypeVar("W", bound=Titled)
R = TypeVar("R")


def attempted(folder: Path, make: Callable[[], R], failed: Callable[[str], R]) -> tuple[R, bool]:
    """Make a result, or one that tells why there is none.

    A bug is told like any other failure, with its traceback in the folder: one detector's must not end the comparison
    of the others.

    Args:
        folder: where it is kept; its folder `work` is removed.
        make: makes it.
        failed: of the reason.

    Returns:
        The result, and whether it would be the same again: not after a bug, which is tried anew next time.
    """
    try:
        return make(), True
    except EXPECTED as error:
        return failed(str(error)), True
    except Exception as error:  # noqa: BLE001 - see above
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return failed(f"{type(error).__name__}: {error} (see {folder / 'traceback.txt'})"), False
    finally:
        shutil.rmtree(folder / "work", ignore_errors=True)


def run(work: Sequence[W], do: Callable[[W], R], pool: Executor, jobs: int) -> Iterator[tuple[W, R]]:
    """Do the tasks, `jobs` at a time; gives each as it is done. The bar tells those at work."""
    left = dict.fromkeys(work)
    with tqdm(total=len(left), unit="fit", disable=None) as bar:
        bar.set_postfix_str(_at_work(left, jobs))
        for task, result in _done(work, do, pool, jobs):
            yield task, result
            del left[task]
            bar.set_postfix_str(_at_work(left, jobs), refresh=False)
            bar.update()


def _done(work: Iterable[W], do: Callable[[W], R], pool: Executor, jobs: int) -> Iterator[tuple[W, R]]:
    """Hand no more to the pool than it works on.

    Tasks carry their data, and what waits in a full pipe to a worker that is ended would keep this process from ending.
    """
    left = iter(work)
    running: dict[Future[R], W] = {}
    while running := running | {pool.submit(do, task): task for task in islice(left, jobs - len(running))}:
        for done in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(done), done.result()


def _at_work(left: Iterable[Titled], jobs: int) -> str:
    """The first tasks that are not done."""
    return ", ".join(task.title for task in islice(left, jobs))
