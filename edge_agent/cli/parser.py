"""Arguments and help of every command."""

from __future__ import annotations

import argparse
import importlib
import math
import re
from collections.abc import Callable

from edge_agent import __version__
from edge_agent.errors import EdgeAgentError

EXIT_FAILED = 1
"""Done, and something is wrong."""
EXIT_MISUSED = 2
"""The command line was not understood, as argparse has it."""
EXIT_UNAVAILABLE = 69
"""Port, broker or agent are not there: EX_UNAVAILABLE of sysexits.h."""
EXIT_CONFIG = 78
"""The settings cannot be used: EX_CONFIG of sysexits.h, on which the service is not restarted."""
EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C, as shells have it: 128 and the number of SIGINT."""

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST_S = 366 * 86_400.0
"""Longest time that a command may be told to take, seconds: a year."""


class Misused(EdgeAgentError):
    """The command line asks for what cannot be: exit code 2."""


def duration_s(text: str) -> float:
    """Read a time such as 90s, 10m, 2h or 1d, or a plain number of seconds; returns seconds."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d+)?)\s*([smhd]?)\s*", text)
    seconds = float(match[1]) * _UNITS_S[match[2] or "s"] if match else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 10m, 2h or 1d, at most 366d, got {text!r}")
    return seconds


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


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
  130 stopped with Ctrl-C

the settings of every command: --config FILE, else EDGE_AGENT_CONFIG, else /etc/edge-agent/config.toml
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
    for add in (
        _init,
        _check,
        _run,
        _record,
        _calibrate,
        _replay,
        _test_alert,
        _status,
        _evidence,
        _install,
        _inspect,
        _bench,
    ):
        add(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    where: tuple[str, str],
    *,
    teach: str = "",
    config: bool = False,
    json: bool = False,
    stream: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[:1].upper() + text[1:] + ".",
        epilog=teach,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    teach = """\
example:
  edge-agent init                                                  list the ports
  edge-agent init --port /dev/serial/by-id/usb-... --out config.toml
  edge-agent init --camera /dev/v4l/by-id/usb-... --out config.toml
  edge-agent init --camera rtsp://camera.local/stream1 --out config.toml

Guesses baud rate, format, names and units of the channels, and the rate; look at what it wrote before you use it.
A sensor that speaks less than once a second needs longer: --seconds 60 for one reading every 10 s.
Formats it knows: CSV with or without a header, key=value, JSON, binary frames (docs/line-protocol.md)."""
    text = "listen to a port for 10 s, or look through a camera, and write the settings file"
    parser = _command(commands, "init", text, ("init", "init"), teach=teach)
    parser.add_argument("--port", help="serial port; without it the ports and cameras found are listed")
    parser.add_argument(
        "--camera",
        metavar="CAMERA",
        help="device path, rtsp:// or http:// address, picamera, folder of images or video",
    )
    parser.add_argument("--baud", type=int, help="baud rate (default: the usual ones are tried)")
    parser.add_argument("--seconds", type=duration_s, default=10.0, help="how long to listen (default: 10)")
    parser.add_argument("--stream", help="name of the stream in topics (default: sensor, or camera)")
    parser.add_argument("--device", help="name of this device in topics (default: the host name)")
    parser.add_argument("--broker", default="localhost", help="MQTT broker, HOST or HOST:PORT (default: localhost)")
    parser.add_argument(
        "--out", default="config.toml", help="file to write (default: config.toml); never overwritten without --force"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file")


def _check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
Looks at the settings, the folder for alerts, the model, every sensor and the broker. Each problem says where it is and
what to do; a note is worth knowing and changes no exit code. While the agent runs it holds the ports: then only the
rest is checked. With --json: a list of {kind: problem | note, place, message, hint}."""
    text = "check settings and hardware, and say all problems at once with hints"
    parser = _command(commands, "check", text, ("check", "check"), teach=teach, config=True, json=True)
    parser.add_argument(
        "--no-hardware", action="store_true", help="check the settings and bundles only; open no port or broker"
    )
    parser.add_argument(
        "--seconds", type=duration_s, default=5.0, help="how long to listen to each source (default: 5)"
    )


def _run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
Ends with Ctrl-C or SIGTERM, in good order. Without a model it learns from the first readings what is normal and then
watches with that, marked provisional. A port, model or broker that is not there is reported and tried again."""
    text = "watch until stopped (this is what the service runs)"
    _command(commands, "run", text, ("service", "run"), teach=teach, config=True)


def _record(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
example:
  edge-agent record --config config.toml --for 2h --out normal.csv.gz

Writes time (seconds since 1970), then a column per channel named `pressure [bar]`; a missing value is empty. Ctrl-C
keeps what is there. A port that goes away is waited for. Then, on the workstation: python -m training init FILE

of a camera:
  edge-agent record --config config.toml --for 2h --every 5s --out parts

Writes an image every 5 s into parts/normal. Then, on the workstation: python -m training init parts"""
    text = "record readings as CSV, or frames as images, for training (stop the service first: a port has one reader)"
    parser = _command(
        commands, "record", text, ("recording", "record"), teach=teach, config=True, stream=True, json=True
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="CSV to write, never overwritten; .csv.gz is compressed. Of a camera the folder, images go to FILE/normal",
    )
    parser.add_argument(
        "--every",
        dest="every_s",
        type=duration_s,
        default=1.0,
        metavar="TIME",
        help="of a camera: time between two images (default: 1s)",
    )
    parser.add_argument("--png", action="store_true", help="of a camera: images without any loss, ten times larger")
    parser.add_argument(
        "--for",
        dest="duration_s",
        type=duration_s,
        default=600.0,
        metavar="TIME",
        help="how long, such as 90s, 10m, 2h, 1d (default: 10m)",
    )
    parser.add_argument("--max-mb", type=positive, default=512.0, help="stop at this size in megabytes (default: 512)")


def _calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
example:
  edge-agent calibrate --for 2h              stop the service first: a port has one reader
  edge-agent calibrate --data normal.csv.gz  from what `edge-agent record` wrote
  edge-agent calibrate --undo

  edge-agent calibrate --stream cell         a camera learns its scene anew at the next start; --undo takes it back

Shows the old and the new threshold. Give it normal readings only: what happens in them will not be alarmed on."""
    text = "fit the prefilter and the threshold to normal readings of this site; the bundle stays as it is"
    parser = _command(
        commands, "calibrate", text, ("models", "calibrate"), teach=teach, config=True, stream=True, json=True
    )
    parser.add_argument(
        "--data", metavar="FILE", help="recorded normal readings (edge-agent record); without it the source is read"
    )
    parser.add_argument(
        "--for",
        dest="duration_s",
        type=duration_s,
        default=600.0,
        metavar="TIME",
        help="how long to read the source (default: 10m)",
    )
    parser.add_argument("--undo", action="store_true", help="return to what the bundle brought")
    parser.add_argument("--dry-run", action="store_true", help="show old and new, change nothing")


def _replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
example:
  edge-agent replay normal.csv.gz                    with the model and the settings of the stream
  edge-agent replay recording.csv --bundle new.bundle  what another model would have said; needs no settings

The file needs a column per channel of the model, by name; other columns are ignored. A time column is found by name
(time, timestamp, datetime, ...); without one the rows are taken at the rate of the model. Nothing is published.
A folder of images or a video goes through the model of a camera; with --bundle and no --config its network decides
alone, since which scene is usual is learned on site."""
    text = "run recorded readings or frames through the model and print what it would have decided"
    parser = _command(commands, "replay", text, ("replay", "replay"), teach=teach, config=True, stream=True, json=True)
    parser.add_argument("file", help="CSV or CSV.gz of readings, folder of images, or video")
    parser.add_argument(
        "--rate-hz", type=positive, default=1.0, help="images a second that a folder was taken at (default: 1)"
    )
    parser.add_argument("--bundle", metavar="FILE", help="bundle to try (default: the one of the stream)")


def _test_alert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
A running agent sends it the way of every alert, through its outbox; without one it goes to the broker from here. It
opens and closes an event of severity info whose text says that it is a test. See it arrive with:
  mosquitto_sub -h localhost -t 'anomalite/+/+/event' -v"""
    text = "send a test alert to the broker and wait until the broker has it"
    parser = _command(commands, "test-alert", text, ("service", "test_alert"), teach=teach, config=True, stream=True)
    parser.add_argument("--timeout", type=duration_s, default=15.0, help="seconds to wait for the broker (default: 15)")


def _status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
exit codes:
  0   every stream is normal and the broker connected
  1   some stream is not normal (an anomaly, a fault, still learning), or the broker is away
  69  the agent does not run, or may not be asked by this user"""
    text = "ask the running agent how it is"
    _command(commands, "status", text, ("service", "status"), teach=teach, config=True, json=True)


def _evidence(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
example:
  edge-agent evidence                            list it, newest first
  edge-agent evidence 3f2a                       one event, by its id or how it begins
  edge-agent evidence 3f2a --overlay seen.jpg    the frame that fired, with what was strange in it

The frames of a camera are kept as they came; the colours of the map and the boxes with their scores are drawn into the
new file alone. Readings are kept as .npz for numpy. The agent need not run."""
    text = "list what was kept beside the alerts, and draw what a camera found strange"
    parser = _command(commands, "evidence", text, ("evidence", "evidence"), teach=teach, config=True, json=True)
    parser.add_argument("id", nargs="?", metavar="ID", help="event, by its id or how it begins (default: list all)")
    parser.add_argument("--overlay", metavar="FILE", help="JPEG to write, never overwritten")


def _install(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
The bundle is read, held against the channels of the settings, and its golden data replayed on this machine; only then
it replaces the one before, which is kept. Restart the agent to use it: systemctl restart edge-agent"""
    text = "check a bundle here and make it the model of a stream (used at the next start)"
    parser = _command(
        commands, "install", text, ("models", "install"), teach=teach, config=True, stream=True, json=True
    )
    parser.add_argument("bundle", help="bundle file")


def _inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = "Says channels, rate, graphs, how far the threshold can be trusted, and the figures of its evaluation."
    parser = _command(commands, "inspect", "say what a bundle holds", ("models", "inspect"), teach=teach, json=True)
    parser.add_argument("bundle", help="bundle file")


def _bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    teach = """\
Prints the median time of a window, the difference from the golden scores, and the line for the settings
([streams.NAME.scoring]). The agent makes the same choice by itself at its start; this shows why."""
    text = "time a bundle's graphs, kernels and threads on this machine and say which to take"
    parser = _command(commands, "bench", text, ("models", "bench"), teach=teach, json=True)
    parser.add_argument("bundle", help="bundle file")
    parser.add_argument(
        "--runtime", default="auto", choices=("auto", "litert", "tflite"), help="TFLite runtime (default: auto)"
    )
    parser.add_argument(
        "--delegate", action="append", default=[], help="also try this delegate library; may be repeated"
    )
