"""Training of the small Keras networks that are the bodies of neural detectors."""

from __future__ import annotations

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


def train_network(
    model: keras.Model, inputs: Floats, targets: Floats, settings: TrainingSettings, *, guard: int, progress: bool
) -> Curves:
    """Minimise the mean squared error, stopping early on the last windows.

    The last `stopping` share watches for overfitting; `guard` windows before it, which share rows with it, are left
    out. Where that share is too small to tell anything, all windows are trained on and every epoch is run.

    Args:
        model: compiled here, with Adam.
        inputs: float32 [n, ...] in time order.
        targets: float32 [n, ...].
        settings: epochs, batch, learning rate, patience, stopping.
        guard: windows, usually T / stride - 1.
        progress: draw a bar.

    Returns:
        `loss` and, where there was early stopping, `stopping_loss`: one figure an epoch.
    """
    watched = round(len(inputs) * settings.stopping)
    trained = len(inputs) - watched - guard
    if settings.patience == 0 or watched < FEWEST_INDEPENDENT * (guard + 1):
        trained, watched = len(inputs), 0
    callbacks: list[keras.callbacks.Callback] = [_Bar(settings.epochs)] if progress else []
    if watched:
        callbacks.append(
            keras.callbacks.EarlyStopping("val_loss", patience=settings.patience, restore_best_weights=True)
        )
    model.compile(keras.optimizers.Adam(settings.learning_rate), "mse")
    history = model.fit(
        inputs[:trained],
        targets[:trained],
        epochs=settings.epochs,
        batch_size=max(1, min(settings.batch, trained // FEWEST_BATCHES)),
        validation_data=(inputs[-watched:], targets[-watched:]) if watched else None,
        callbacks=callbacks,
        verbose=0,
    )
    names = {"loss": "loss", "val_loss": "stopping_loss"}
    return {
        names[name]: np.asarray(values, float).tolist() for name, values in history.history.items() if name in names
    }
