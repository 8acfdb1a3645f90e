"""`check`: settings and hardware, all problems at once."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from edge_agent.cli.checks import Note, all_problems, answers
from edge_agent.cli.parser import EXIT_CONFIG, EXIT_FAILED
from edge_agent.config import config_path, load
from edge_agent.errors import ConfigError, Problem


def check(arguments: argparse.Namespace) -> int:
    """Print every problem of settings and hardware; exit code 78 where the settings are wrong, 1 where the world is."""
    try:
        settings = load(config_path(arguments.config))
    except ConfigError as error:
        return _tell(error.problems, as_json=arguments.json, code=EXIT_CONFIG)
    hardware = not arguments.no_hardware
    if hardware and answers(settings.status_path):
        print("an agent runs with these settings and holds the ports; ask it: edge-agent status", file=sys.stderr)
        hardware = False
    found = list(all_problems(settings, hardware=hardware, seconds=arguments.seconds))
    return _tell(found, as_json=arguments.json, code=EXIT_FAILED)


def _tell(found: Sequence[Problem], *, as_json: bool, code: int) -> int:
    """Print problems and notes; returns `code` where there is a problem."""
    problems = [each for each in found if not isinstance(each, Note)]
    if as_json:
        print(json.dumps([_plain(each) for each in found], indent=2))
        return code if problems else 0
    for each in found:
        print(f"note: {each}" if isinstance(each, Note) else each)
    print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}" if problems else "all is well")
    return code if problems else 0


def _plain(each: Problem) -> dict[str, str]:
    kind = "note" if isinstance(each, Note) else "problem"
    return {"kind": kind, "place": each.place, "message": each.message, "hint": each.hint}
