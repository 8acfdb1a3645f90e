"""Training of the small Keras networks that are the bodies of neural detectors."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """What a network is given and what it must answer."""

    given: Floats
    """float32 [n, ...]."""
    wanted: Floats
    """float32 [n, ...]."""


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
    model: keras.Model, trained: Examples, watched: Examples, settings: TrainingSettings, *, progress: bool
) -> Curves:
    """Minimise the mean squared error.

    Args:
        model: compiled here, with Adam.
        trained: examples to learn from.
        watched: examples whose loss ends the training, with the best weights; with none every epoch is run.
        settings: epochs, batch, learning rate, patience.
        progress: draw a bar.

    Returns:
        `loss` and, where there was early stopping, `stopping_loss`: one figure an epoch.
    """
    callbacks: list[keras.callbacks.Callback] = [_Bar(settings.epochs)] if progress else []
    if len(watched.given):
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
        )
    model.compile(keras.optimizers.Adam(settings.learning_rate), "mse")
    history = model.fit(
        trained.given,
        trained.wanted,
        epochs=settings.epochs,
        batch_size=max(1, min(settings.batch, len(trained.given) // FEWEST_BATCHES)),
        validation_data=(watched.given, watched.wanted) if len(watched.given) else None,
        callbacks=callbacks,
        verbose=0,
    )
    names = {"loss": "loss", "val_loss": "stopping_loss"}
    return {
        names[name]: np.asarray(values, float).tolist() for name, values in history.history.items() if name in names
    }
