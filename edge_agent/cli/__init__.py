"""`edge-agent`: the command line on the device.

    parser.py     arguments and help of every command
    init.py       init                check.py, checks.py  check
    recording.py  record              replay.py            replay
    service.py    run, status, test-alert
    evidence.py   evidence
    models.py     install, inspect, bench, calibrate
    reading.py    how the commands read sources, and say how far they are

Commands import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from edge_agent.cli.parser import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_MISUSED,
    EXIT_UNAVAILABLE,
    Misused,
    build_parser,
)
from edge_agent.errors import ConfigError, EdgeAgentError, SourceUnavailable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        code = int(arguments.command(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); what is left must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (EdgeAgentError, OSError) as error:
        return _tell(error)
    return code


def _tell(error: EdgeAgentError | OSError) -> int:
    """Print an error for a person; returns its exit code."""
    if isinstance(error, ConfigError):
        count = len(error.problems)
        print(f"{count} problem{'s' if count > 1 else ''} in the settings:", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return EXIT_CONFIG
    print(f"edge-agent: {error}", file=sys.stderr)
    if isinstance(error, Misused):
        return EXIT_MISUSED
    return EXIT_UNAVAILABLE if isinstance(error, SourceUnavailable) else EXIT_FAILED
