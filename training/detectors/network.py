"""Training of the small Keras networks that are the bodies of neural detectors, of windows and of frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.contract.records import Floats
from training.detectors.base import Curves
from training.recipe import TrainingSettings

FEWEST_BATCHES = 8
"""Batches an epoch: with fewer windows the batch shrinks, since some hundred steps are needed whatever the data."""


FEWEST_INDEPENDENT = 4
"""Windows without a row in common that early stopping must watch: of fewer the loss says little of the fit."""

Examples = tuple[NDArray[Any], Floats]
"""What a network is given, float32 or pixels [n, ...], and what it must answer, float32 [n, ...]."""

MakeExamples = Callable[[NDArray[Any], np.random.Generator | None], Examples]
"""From normal windows or frames [n, ...] to examples. The generator decides what is left to chance; without one, for
those that early stopping watches, nothing may be."""


class _Bar(keras.callbacks.Callback):  # type: ignore[misc]
    """One bar over the epochs, on standard error."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.bar = tqdm(total=epochs, unit="epoch", leave=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's signature
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in (logs or {}).items()}, refresh=False)
        self.bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's signature
        self.bar.close()


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Examples of the windows or frames, in a new order each epoch."""

    def __init__(self, windows: NDArray[Any], examples: MakeExamples, batch: int, seed: int) -> None:
        """Keep what examples are made of.

        Args:
            windows: [n, ...], windows or frames.
            examples: called for each batch.
            batch: windows of a batch.
            seed: of the order, and of what `examples` leaves to chance.
        """
        super().__init__()
        self._windows, self._examples, self._batch = windows, examples, batch
        self._rng = np.random.default_rng(seed)
        self._order = self._rng.permutation(len(windows))

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(len(self._windows) / self._batch)

    def __getitem__(self, index: int) -> Examples:
        """One batch."""
        chosen = self._order[index * self._batch : (index + 1) * self._batch]
        return self._examples(self._windows[chosen], self._rng)

    def on_epoch_end(self) -> None:
        """Shuffle."""
        self._order = self._rng.permutation(len(self._windows))


def kept_apart(windows: Floats, settings: TrainingSettings, guard: int) -> tuple[Floats, Floats]:
    """Split training windows in time order into those to train on and those that early stopping watches.

    The last `stopping` share is watched; `guard` windows before it, which share rows with it, are left out of both.
    Where that share is too small to tell anything, none is watched and every epoch is run.
    """
    watched = round(len(windows) * settings.stopping)
    if settings.patience == 0 or watched < FEWEST_INDEPENDENT * (guard + 1):
        return windows, windows[:0]
    return windows[: len(windows) - watched - guard], windows[len(windows) - watched :]


def train_network(
    model: keras.Model,
    windows: Floats,
    examples: MakeExamples,
    settings: TrainingSettings,
    *,
    guard: int,
    progress: bool,
) -> Curves:
    """Minimise the mean squared error, stopping early on the last windows.

    Args:
        model: compiled here, with Adam.
        windows: float32 [n, ...] in time order.
        examples: what is learned of them.
        settings: seed, epochs, batch, learning rate, patience, stopping.
        guard: windows before those that early stopping watches which are left out, since they share rows with them:
            usually T / stride - 1.
        progress: draw a bar.

    Returns:
        `loss` and, where there was early stopping, `stopping_loss`: one figure an epoch.
    """
    trained, watched = kept_apart(windows, settings, guard)
    batches = Batches(trained, examples, batch_size(len(trained), settings), settings.seed)
    held_back = examples(watched, None) if len(watched) else None
    return train_on_batches(model, batches, held_back, settings, loss="mse", progress=progress)


def batch_size(count: int, settings: TrainingSettings) -> int:
    """Examples of a batch where there are `count` in all."""
    return max(1, min(settings.batch, count // FEWEST_BATCHES))


def train_on_batches(
    model: keras.Model,
    batches: keras.utils.PyDataset,
    held_back: tuple[Any, ...] | None,
    settings: TrainingSettings,
    *,
    loss: Any,
    progress: bool,
) -> Curves:
    """Minimise a loss, stopping early on what was held back.

    Args:
        model: compiled here, with Adam.
        batches: (inputs, answers) or (inputs, answers, weights) each.
        held_back: the same at once, for early stopping; None: every epoch is run.
        settings: epochs, learning rate, patience.
        loss: any that Keras knows.
        progress: draw a bar.

    Returns:
        As `train_network`.
    """
    callbacks: list[keras.callbacks.Callback] = [_Bar(settings.epochs)] if progress else []
    if held_back is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
        )
    model.compile(keras.optimizers.Adam(settings.learning_rate), loss)
    model.optimizer.build(model.trainable_variables)  # made while the first step is traced, it would be traced twice
    history = model.fit(batches, epochs=settings.epochs, validation_data=held_back, callbacks=callbacks, verbose=0)
    names = {"loss": "loss", "val_loss": "stopping_loss"}
    return {
        names[name]: np.asarray(values, float).tolist() for name, values in history.history.items() if name in names
    }
