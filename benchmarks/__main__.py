"""`python -m benchmarks [--json FILE]`: every part, one table."""

from __future__ import annotations

from benchmarks import camera, camera_path, frames, path, prefilter, service, vus
from benchmarks.figures import Figure, main


def all_figures() -> list[Figure]:
    """Measure every part."""
    parts = (prefilter, camera, frames, path, camera_path, service, vus)
    return [figure for part in parts for figure in part.all_figures()]


if __name__ == "__main__":
    main(all_figures, __doc__)
