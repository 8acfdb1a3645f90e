"""`edge-agent`: the command line on the device.

    parser.py    arguments and help of every command
    settings.py  init, check          service.py  run, status, test-alert
    data.py      record, replay       models.py   install, inspect, bench, calibrate

Commands import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from edge_agent.cli.parser import EXIT_CONFIG, EXIT_FAILED, EXIT_UNAVAILABLE, build_parser
from edge_agent.errors import ConfigError, EdgeAgentError, SourceUnavailable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        count = len(error.problems)
        print(f"{count} problem{'s' if count > 1 else ''} in the settings:", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return EXIT_CONFIG
    except SourceUnavailable as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except EdgeAgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
