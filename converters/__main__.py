"""`python -m converters`: from a run folder to a bundle."""

from __future__ import annotations

import sys

from converters.cli import main

if __name__ == "__main__":
    sys.exit(main())
