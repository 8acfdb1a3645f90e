"""Arguments and help of every command."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable

from edge_agent import __version__

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 69
EXIT_CONFIG = 78

_EPILOG = """\
a first run, in this order:
  edge-agent init --port /dev/serial/by-id/... --out config.toml   listen 10 s, write the settings
  edge-agent check --config config.toml                            settings and hardware, all problems at once
  edge-agent record --config config.toml --for 2h --out normal.csv collect data for training
  edge-agent install pump.bundle --config config.toml              take the trained model
  edge-agent run --config config.toml                              watch

exit codes:
  0   done, and all is well
  1   done, and something is wrong: the message says what
  2   the command line was not understood
  69  the port, the broker or the running agent is not there
  78  the settings cannot be used (systemd does not restart on it)
"""


def _late(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """Return a command that imports its module when it is called."""

    def command(arguments: argparse.Namespace) -> int:
        return int(getattr(importlib.import_module(f"edge_agent.cli.{module}"), function)(arguments))

    return command


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `edge-agent`."""
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Watch sensors for anomalies and publish alerts over MQTT.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    parser.add_argument("--verbose", "-v", action="store_true", help="log details, too")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_init, _check, _run, _record, _calibrate, _replay, _test_alert, _status, _install, _inspect, _bench):
        add(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    where: tuple[str, str],
    *,
    config: bool = False,
    json: bool = False,
    stream: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    parser.set_defaults(command=_late(*where))
    if config:
        parser.add_argument(
            "--config", metavar="FILE", help="settings (default: EDGE_AGENT_CONFIG, else /etc/edge-agent/config.toml)"
        )
    if stream:
        parser.add_argument("--stream", metavar="NAME", help="which stream of the settings (default: the only one)")
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON for a program")
    return parser


def _init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "init", "listen to a port and write the settings file", ("settings", "init"))
    parser.add_argument("--port", help="serial port; without it the ports found are listed")
    parser.add_argument("--baud", type=int, help="baud rate (default: the usual ones are tried)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to listen (default: 10)")
    parser.add_argument("--stream", default="sensor", help="name of the stream in topics (default: sensor)")
    parser.add_argument("--device", help="name of this device in topics (default: the host name)")
    parser.add_argument("--broker", default="localhost", help="MQTT broker, HOST or HOST:PORT (default: localhost)")
    parser.add_argument(
        "--out", default="config.toml", help="file to write (default: config.toml); never overwritten without --force"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file")


def _check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "check settings and hardware, and say all problems at once with hints"
    parser = _command(commands, "check", text, ("settings", "check"), config=True, json=True)
    parser.add_argument(
        "--no-hardware", action="store_true", help="check the settings and bundles only; open no port or broker"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to listen to each source (default: 5)")


def _run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _command(commands, "run", "watch until stopped (this is what the service runs)", ("service", "run"), config=True)


def _record(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "record readings as CSV for training (stop the service first: a port has one reader)"
    parser = _command(commands, "record", text, ("data", "record"), config=True, stream=True)
    parser.add_argument("--out", required=True, metavar="FILE", help="CSV to write; .csv.gz is compressed")
    parser.add_argument(
        "--for",
        dest="duration",
        default="10m",
        metavar="TIME",
        help="how long, such as 90s, 10m, 2h, 1d (default: 10m)",
    )
    parser.add_argument("--max-mb", type=float, default=512.0, help="stop at this size in megabytes (default: 512)")


def _calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "fit the prefilter and the threshold to normal readings of this site; the signed bundle stays as it is"
    parser = _command(commands, "calibrate", text, ("models", "calibrate"), config=True, stream=True, json=True)
    parser.add_argument(
        "--data", metavar="FILE", help="recorded normal readings (edge-agent record); without it the source is read"
    )
    parser.add_argument(
        "--for", dest="duration", default="10m", metavar="TIME", help="how long to read the source (default: 10m)"
    )
    parser.add_argument("--undo", action="store_true", help="return to what the bundle brought")
    parser.add_argument("--dry-run", action="store_true", help="show old and new, change nothing")


def _replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "run recorded readings through the model and print what it would have decided"
    parser = _command(commands, "replay", text, ("data", "replay"), config=True, stream=True, json=True)
    parser.add_argument("file", help="CSV or CSV.gz of readings")
    parser.add_argument("--bundle", metavar="FILE", help="bundle to try (default: the one of the stream)")


def _test_alert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "send a test alert to the broker and wait until the broker has it"
    parser = _command(commands, "test-alert", text, ("service", "test_alert"), config=True, stream=True)
    parser.add_argument("--timeout", type=float, default=15.0, help="seconds to wait for the broker (default: 15)")


def _status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _command(commands, "status", "ask the running agent how it is", ("service", "status"), config=True, json=True)


def _install(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "check a bundle here and make it the model of a stream (used at the next start)"
    parser = _command(commands, "install", text, ("models", "install"), config=True, stream=True)
    parser.add_argument("bundle", help="bundle file")


def _inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "inspect", "say what a bundle holds", ("models", "inspect"), json=True)
    parser.add_argument("bundle", help="bundle file")


def _bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "time a bundle's graphs, kernels and threads on this machine and say which to take"
    parser = _command(commands, "bench", text, ("models", "bench"), json=True)
    parser.add_argument("bundle", help="bundle file")
    parser.add_argument(
        "--runtime", default="auto", choices=("auto", "litert", "tflite"), help="TFLite runtime (default: auto)"
    )
    parser.add_argument(
        "--delegate", action="append", default=[], help="also try this delegate library; may be repeated"
    )
