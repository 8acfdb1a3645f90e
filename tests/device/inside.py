"""Runs inside a device environment, where only the agent and its requirements are installed; prints one JSON object.

python inside.py imports            import every module of the agent, with the workstation's packages blocked
python inside.py golden BUNDLE      load each graph, replay its golden data with and without XNNPACK
"""

import argparse
import importlib
import importlib.abc
import json
import logging
import pkgutil
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

WORKSTATION = {"tensorflow", "keras", "sklearn", "scipy", "pandas", "training", "converters"}


class Blocked(importlib.abc.MetaPathFinder):
    """Refuses the workstation's packages, also where they happen to be installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.partition(".")[0] in WORKSTATION:
            raise ImportError(f"{fullname} belongs to the workstation: the device must do without")


def imports(_: argparse.Namespace) -> dict[str, object]:
    """Import every module and name where the agent came from."""
    sys.meta_path.insert(0, Blocked())
    started = time.perf_counter()
    package = importlib.import_module("edge_agent")
    names = [module.name for module in pkgutil.walk_packages(package.__path__, "edge_agent.")]
    for name in [name for name in names if not name.endswith(".__main__")]:
        importlib.import_module(name)
    return {"modules": len(names), "seconds": round(time.perf_counter() - started, 3), "file": package.__file__}


def golden(arguments: argparse.Namespace) -> dict[str, object]:
    """Replay the golden data of every graph, as the agent does at its start."""
    from edge_agent.contract.bundle import FrameBundle, read_bundle
    from edge_agent.scoring.frame_selection import try_frame_graph
    from edge_agent.scoring.selection import try_graph
    from edge_agent.scoring.settings import ScoringSettings

    bundle = read_bundle(Path(arguments.bundle))
    attempt = try_frame_graph if isinstance(bundle, FrameBundle) else try_graph
    rows = []
    for spec in bundle.manifest.graphs:
        for delegate in ("xnnpack", "none"):
            settings = ScoringSettings(runtime=arguments.runtime, delegate=delegate)
            trial, _ = attempt(bundle, spec, settings, timed=not arguments.untimed)
            shown = ("delegate", "kernels", "us_per_call", "golden_error", "tolerance", "problem")
            scores = int(bundle.golden()[f"score_{spec.format}"].size)
            row = {"format": str(spec.format), "scores": scores}
            rows.append(row | {name: getattr(trial, name) for name in shown})
    return {"graphs": rows, "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def main() -> None:
    """Run one of the two and print what it found."""
    logging.basicConfig(stream=sys.stderr)
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("imports").set_defaults(run=imports)
    replay = commands.add_parser("golden")
    replay.add_argument("bundle")
    replay.add_argument("--runtime", default="auto")
    replay.add_argument("--untimed", action="store_true", help="under emulation latencies mean nothing")
    replay.set_defaults(run=golden)
    arguments = parser.parse_args()
    run: Callable[[argparse.Namespace], dict[str, object]] = arguments.run
    print(json.dumps(run(arguments)))


if __name__ == "__main__":
    main()
