"""The sketches for microcontrollers, compiled against a board of a few lines, and what they send, read."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract.records import Channel
from edge_agent.sources.formats import Counters, Format, FormatSettings
from edge_agent.sources.framing import make_framing

SKETCHES = Path(__file__).parents[2] / "examples" / "arduino"

BOARD = r"""
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
const int A0 = 0, A1 = 1, A2 = 2;
unsigned long now_us = 0;
int converted = 0;
unsigned long millis() { return now_us / 1000; }
unsigned long micros() { return now_us; }
// Counts up from the pin's number; pin 1 reads the end of the scale every seventh time.
int analogRead(int pin) { converted++; return pin == 1 && converted % 7 == 0 ? 1023 : 500 + pin + converted % 10; }
struct Port {
  void begin(long) {}
  void print(float value, int digits) { printf("%.*f", digits, value); }
  void print(char text) { putchar(text); }
  void println(const char *text = "") { printf("%s\r\n", text); }
  size_t write(const uint8_t *bytes, size_t size) { return fwrite(bytes, 1, size, stdout); }
} Serial;
"""
MAIN = r"""
int main(int, char **arguments) {
  setup();
  for (unsigned long end = 1000000UL * atol(arguments[1]); now_us < end; now_us += 50) loop();
}
"""


@pytest.fixture
def run_sketch(tmp_path):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++ to test the sketches")

    def run(name, seconds):
        source = tmp_path / f"{name}.cpp"
        source.write_text(BOARD + (SKETCHES / name / f"{name}.ino").read_text(encoding="utf-8") + MAIN)
        program = tmp_path / name
        subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True, timeout=60)
        return subprocess.run([program, str(seconds)], check=True, timeout=60, stdout=subprocess.PIPE).stdout

    return run


def read(data, channels, **settings):
    counters = Counters()
    rows = make_framing(FormatSettings(**settings), channels, counters).feed(data)
    assert counters.frames_dropped == 0
    return np.concatenate([part.values for part in rows])


def test_the_line_sensor_sends_ten_readings_a_second_and_its_header_every_five(run_sketch):
    sent = run_sketch("line_sensor", 120)
    values = read(sent, (Channel(name="pressure", unit="bar"), Channel(name="flow", unit="l/min")))
    assert len(values) == 1200
    assert sent.count(b"flow [l/min]") == 24
    assert np.nanmean(values[:, 0]) == pytest.approx(505.5 * 10 / 1023, rel=0.01)
    assert 0.1 < np.isnan(values[:, 0]).mean() < 0.2
    assert np.nanmean(values[:, 1]) == pytest.approx(504.5 * 80 / 1023, rel=0.01)


def test_the_frame_sensor_sends_a_thousand_readings_a_second(run_sketch):
    axes = tuple(Channel(name=name, unit="g") for name in "xyz")
    values = read(run_sketch("frame_sensor", 3), axes, format=Format.BINARY)
    assert len(values) == 3000
    np.testing.assert_allclose(values[0], np.array([500 + 1 - 512, 501 + 2 - 512, 502 + 3 - 512]) * 6 / 1023, rtol=1e-5)
