"""Training of the small Keras networks that are the bodies of neural detectors."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
from tqdm import tqdm

from edge_agent.contract.records import Floats
from training.detectors.base import Curves
from training.recipe import TrainingSettings

FEWEST_BATCHES = 8
"""Batches an epoch: with fewer windows the batch shrinks, since some hundred steps are needed whatever the data."""


FEWEST_INDEPENDENT = 4
"""Windows without a row in common that early stopping must watch: of fewer the loss says little of the fit."""

Examples = tuple[Floats, Floats]
"""What a network is given and what it must answer, float32 [n, ...] both."""

MakeExamples = Callable[[Floats, np.random.Generator | None], Examples]
"""From normal windows [n, ...] to examples. The generator decides what is left to chance; without one, for the windows
that early stopping watches, nothing may be."""


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
    """Examples of the windows, in a new order each epoch."""

    def __init__(self, windows: Floats, examples: MakeExamples, batch: int, seed: int) -> None:
        """Keep what examples are made of.

        Args:
            windows: float32 [n, ...].
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
    callbacks: list[keras.callbacks.Callback] = [_Bar(settings.epochs)] if progress else []
    if len(watched):
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
        )
    model.compile(keras.optimizers.Adam(settings.learning_rate), "mse")
    batch = max(1, min(settings.batch, len(trained) // FEWEST_BATCHES))
    history = model.fit(
        Batches(trained, examples, batch, settings.seed),
        epochs=settings.epochs,
        validation_data=examples(watched, None) if len(watched) else None,
        callbacks=callbacks,
        verbose=0,
    )
    names = {"loss": "loss", "val_loss": "stopping_loss"}
    return {
        names[name]: np.asarray(values, float).tolist() for name, values in history.history.items() if name in names
    }
