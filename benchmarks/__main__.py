"""`python -m benchmarks [--json FILE]`: every part, one table."""

from __future__ import annotations

from benchmarks import path, prefilter, service, vus
from benchmarks.figures import Figure, main


def all_figures() -> list[Figure]:
    """Measure every part."""
    return prefilter.all_figures() + path.all_figures() + service.all_figures() + vus.all_figures()


if __name__ == "__main__":
    main(all_figures, __doc__)
