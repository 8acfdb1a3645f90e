"""Kernel density estimate: how many training windows are near, whatever shape normal has."""

from __future__ import annotations

from dataclasses import dataclass

from training.detectors.density import KernelDetector
from training.detectors.kernels import Kernels, LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class KdeSettings:
    """`[detector]` of type `kde`."""

    kernels: int = 128
    """Most kernels in the graph: each costs 8 (D + 1) bytes and some 2 ns. Fewer blur what normal looks like."""
    bandwidth: float | None = None
    """Width of a kernel in standard deviations of the windows; None: estimated."""

    def __post_init__(self) -> None:
        """Refuse what is no density."""
        if self.kernels < 1 or (self.bandwidth is not None and self.bandwidth <= 0):
            raise ValueError(
                f"kernels must be at least 1 and bandwidth above 0, got {self.kernels} and {self.bandwidth}"
            )


class KdeDetector(KernelDetector[KdeSettings]):
    """Kernel density estimate with equal Gaussian kernels.

        score = -2 log sum_k w_k exp(-|y - c_k|^2 / 2 h^2) + range term,   y = (x - m) R,  R R' = S^-1

    h makes each training window most likely by those that share no rows with it. Far windows of the training part are
    left out; if then there are more windows than `kernels`, clusters of them stand in their place, else the weights are
    equal. Far away the score grows like the squared distance to the nearest kernel. From one kind of normal to another
    it rises and falls again.

    Sources: E. Parzen, "On estimation of a probability density function and mode", Ann. Math. Stat. 33 (1962);
    kernels as the covariance S: K. Fukunaga, "Introduction to statistical pattern recognition", 1972; leave-one-out
    likelihood: R. P. W. Duin, "On the choice of smoothing parameters for Parzen estimators of probability
    density functions", IEEE Trans. Computers C-25 (1976); leaving blocks out: P. Burman, E. Chow and D. Nolan, "A
    cross-validatory method for dependent data", Biometrika 81 (1994).
    """

    Settings = KdeSettings

    def find_kernels(self, windows: LeftOut) -> Kernels:
        """Equal kernels of the best bandwidth, reduced."""
        kernels = windows.kernels(self.settings.bandwidth or windows.best_bandwidth())
        return kernels.reduced(self.settings.kernels, self.training.seed)
