"""The page for the makers of sensors says what the code does: every example on it is read."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.records import Channel
from edge_agent.sources.formats import Counters, FormatSettings
from edge_agent.sources.framing import make_framing
from edge_agent.sources.guess import guess

PAGE = (Path(__file__).parents[2] / "docs" / "line-protocol.md").read_text(encoding="utf-8")
CHANNELS = (Channel(name="flow", unit="l/min"), Channel(name="pressure", unit="bar"))
READINGS = [[32.5, 2.41], [32.75, np.nan]]
FIRST_NS, STEP_NS = 1_767_225_600_000_000_000, 500_000_000

EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n```(text|hex)\n(.*?)```", PAGE, re.DOTALL)


def stream_of(kind, text):
    if kind == "text":
        return text.encode()
    return b"".join(bytes.fromhex(re.match(r"(?:[0-9A-F]{2} )*[0-9A-F]{2}", line)[0]) for line in text.splitlines())


def test_the_page_has_an_example_of_every_format():
    assert {tomllib.loads(settings)["format"] for settings, _, _ in EXAMPLES} == {"csv", "keyvalue", "json", "binary"}
    assert len(EXAMPLES) == PAGE.count("```toml")


@pytest.mark.parametrize(("settings", "kind", "text"), EXAMPLES)
def test_an_example_carries_the_readings_of_the_page(settings, kind, text):
    table = tomllib.loads(settings)
    settings = FormatSettings(**table | {"columns": tuple(table.get("columns", ()))})
    counters = Counters()
    rows = make_framing(settings, CHANNELS, counters).feed(stream_of(kind, text))
    np.testing.assert_allclose(np.concatenate([part.values for part in rows]), READINGS, rtol=1e-6)
    assert (counters.frames_dropped, counters.bytes_dropped, counters.last_error) == (0, 0, "")
    if settings.time_column in {"time", "ts"}:
        assert rows[0].t_ns.tolist() == [FIRST_NS, FIRST_NS + STEP_NS]
    elif settings.time_column:
        assert np.diff(rows[0].t_ns).tolist() == [STEP_NS]


@pytest.mark.parametrize("example", EXAMPLES)
def test_init_recognises_the_format_of_an_example(example):
    settings, kind, text = example
    data = stream_of(kind, text)
    repeated = data if kind == "hex" else data + b"".join([data.partition(b"\n")[2]] * 5)
    assert guess(repeated, 0.0).settings.format == tomllib.loads(settings)["format"]
