"""A simulated centrifugal pump in a water loop, with faults that can be switched on: seeded, so that it repeats itself.

    head     H = H0 n^2 - k Q^2          pump, n = speed / nominal speed (affinity laws)
             H = Hs + r Q^2              loop, r = how far the valve is closed
    flow     Q = sqrt((H0 n^2 - Hs) / (k + r))
    current  I = (P_idle + P_friction n^2 + p Q / efficiency) / (U cos phi)
    vibration grows with n^2, temperature follows the losses with a lag of some minutes

The demand moves speed and valve slowly, so the channels move together as those of a machine do: that flow and current
fall together is normal, that one falls alone is not. Each fault acts on the physics, not on a channel.

Source of the pump model: Gülich, Centrifugal Pumps, 3rd ed., 2014, chapters 2 and 4; figures of a 0.5 kW circulation
pump.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import NS, Block, Channel, Doubles, Floats, Times
from edge_agent.sources.formats import in_range, one_of

Labels = NDArray[np.bool_]

PUMP_CHANNELS = (
    Channel(name="flow", unit="l/min", low=0.0, high=80.0),
    Channel(name="pressure", unit="bar", low=0.0, high=10.0),
    Channel(name="current", unit="A", low=0.0, high=15.0),
    Channel(name="vibration", unit="mm/s", low=0.0, high=50.0),
    Channel(name="temperature", unit="degC", low=-20.0, high=150.0),
)
"""What the pump's sensors give."""


class PumpFaultKind(StrEnum):
    """What can go wrong."""

    LEAK = "leak"
    """The loop leaks behind the flow meter: more flow, less pressure."""
    BLOCKAGE = "blockage"
    """The loop closes: less flow and current, more pressure."""
    CAVITATION = "cavitation"
    """Vapour at the inlet: unsteady flow and pressure, vibration."""
    BEARING_WEAR = "bearing_wear"
    """Vibration and friction: more current, and heat with the thermal lag."""
    STUCK = "stuck"
    """A sensor repeats its last reading."""
    LOST = "lost"
    """A sensor gives none."""


START_NS = 1_767_225_600 * NS
"""Reading time of a simulation's first row unless said otherwise: 2026-01-01T00:00:00Z."""

RATES_HZ = (0.001, 50_000.0)
"""Slowest and fastest rate: a reading a quarter of an hour, and twice the fastest vibration sensors in use."""

MAX_SEVERITY = 100.0
"""Most that a fault is told to be: beyond it the pump's physics means nothing."""

_CHUNK = 256
"""Rows simulated at once. Fixed, so that rows do not depend on how many are asked for at a time."""

_SHUTOFF_BAR, _STATIC_BAR = 3.2, 0.6
_PUMP_CURVE, _LOOP_CURVE = 6.0e-4, 1.4e-3
"""bar per (l/min)^2: 36 l/min at 2.4 bar where nothing is wrong."""
_IDLE_W, _FRICTION_W, _EFFICIENCY, _VOLT = 60.0, 45.0, 0.48, 230.0 * 0.82
_W_PER_BAR_L_MIN = 1e5 / 60_000.0
_AMBIENT_C, _K_PER_W, _USUAL_LOSS_W = 22.0, 0.13, 263.0
_THERMAL_LAG_S, _DEMAND_LAG_S, _VALVE_LAG_S = 240.0, 30.0, 90.0
_DEMAND_SPREAD, _VALVE_SPREAD = 0.025, 0.06
"""Relative spread of speed and valve resistance."""
_NOISE = np.array([0.25, 0.015, 0.02, 0.12, 0.05])
"""Standard deviation of each sensor's noise, in its unit."""
_VIBRATION_MM_S = 1.8


_MACHINE_FAULTS = (PumpFaultKind.LEAK, PumpFaultKind.BLOCKAGE, PumpFaultKind.CAVITATION, PumpFaultKind.BEARING_WEAR)


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpFault:
    """Something that goes wrong with the pump for a while."""

    kind: PumpFaultKind
    """`leak` downstream, `blockage` of the loop, `cavitation`, `bearing_wear`, a `stuck` or a `lost` sensor."""
    start_s: float
    """Since the first row; at least 0 s."""
    duration_s: float
    """Above 0 s."""
    severity: float = 1.0
    """0 (nothing) to 1 (a technician would stop the pump) and on; at most 100."""
    onset_s: float = 0.0
    """Time in which it grows to its severity; at least 0 s."""
    channel: str = "flow"
    """Which sensor is stuck or lost."""

    def __post_init__(self) -> None:
        """Refuse what cannot go wrong."""
        one_of("kind", self.kind, tuple(PumpFaultKind))
        if self.start_s < 0 or not self.duration_s > 0 or self.onset_s < 0:
            got = f"{self.start_s}, {self.duration_s} and {self.onset_s}"
            raise ValueError(f"expected start_s >= 0, duration_s > 0 and onset_s >= 0, got {got}")
        in_range("severity", self.severity, 0, MAX_SEVERITY)
        one_of("channel", self.channel, tuple(channel.name for channel in PUMP_CHANNELS))

    def strength(self, t_s: Doubles) -> Doubles:
        """Severity at times since the first row: float64 [n]."""
        grown = np.clip((t_s - self.start_s) / self.onset_s, 0, 1) if self.onset_s else 1.0
        return np.where(self.active(t_s), self.severity * grown, 0.0)

    def active(self, t_s: Doubles) -> Labels:
        """Whether it has begun and not ended: bool [n]."""
        return (t_s >= self.start_s) & (t_s < self.start_s + self.duration_s)


class Pump:
    """Gives the pump's readings, row after row."""

    channels = PUMP_CHANNELS

    def __init__(
        self, seed: int = 0, rate_hz: float = 1.0, faults: tuple[PumpFault, ...] = (), start_ns: int = START_NS
    ) -> None:
        """Begin at a demand drawn from the seed, warmed up.

        Args:
            seed: same seed, same rows.
            rate_hz: rows a second, 0.001 to 50,000.
            faults: what goes wrong, and when.
            start_ns: reading time of the first row.

        Raises:
            ValueError: the rate is out of range.
        """
        in_range("rate_hz", rate_hz, *RATES_HZ)
        self.rate_hz = rate_hz
        self.faults = faults
        self._start_ns = start_ns
        self._rng = np.random.default_rng(seed)
        self._row = 0
        self._demand, self._valve = (float(x) for x in self._rng.standard_normal(2))
        self._temperature = _AMBIENT_C + _K_PER_W * _USUAL_LOSS_W
        self._stuck: dict[int, float] = {}
        self._rest = np.empty((0, len(PUMP_CHANNELS)), dtype=np.float32)

    def take(self, rows: int) -> Block:
        """The next `rows` readings; how many are taken at a time changes nothing."""
        parts, have = [self._rest], len(self._rest)
        first = self._row - have
        while have < rows:
            parts.append(self._simulate())
            have += _CHUNK
        values = np.concatenate(parts)
        self._rest = values[rows:]
        return Block(values=values[:rows].copy(), t_ns=self._times(first, rows))

    def faulty(self, t_ns: Times) -> Labels:
        """Label of readings: bool [n], whether any fault was active at their time."""
        t_s = (t_ns - self._start_ns) / NS
        labels: Labels = np.any([np.zeros(len(t_s), dtype=bool)] + [fault.active(t_s) for fault in self.faults], axis=0)
        return labels

    def _times(self, first: int, rows: int) -> Times:
        times: Times = self._start_ns + np.rint(np.arange(first, first + rows) * (NS / self.rate_hz)).astype(np.int64)
        return times

    def _simulate(self) -> Floats:
        """The next chunk: float32 [256, 5]."""
        t_s = np.arange(self._row, self._row + _CHUNK) / self.rate_hz
        self._row += _CHUNK
        draws = self._rng.standard_normal((_CHUNK, 3 + len(PUMP_CHANNELS)))
        true = self._machine(t_s, draws)
        readings: Doubles = true + draws[:, 3:] * _NOISE
        readings[:, :4] = np.maximum(readings[:, :4], 0.0)
        for fault in self.faults:
            self._break_sensor(fault, t_s, readings)
        return readings.astype(np.float32)

    def _machine(self, t_s: Doubles, draws: Doubles) -> Doubles:
        """What is true of the pump, before the sensors: float64 [n, 5]."""
        leak, blockage, cavitation, wear = (self._strength(kind, t_s) for kind in _MACHINE_FAULTS)
        demand = self._wander(draws[:, 0], self._demand, _DEMAND_LAG_S)
        valve = self._wander(draws[:, 1], self._valve, _VALVE_LAG_S)
        self._demand, self._valve = float(demand[-1]), float(valve[-1])
        speed = np.clip(1.0 + _DEMAND_SPREAD * demand, 0.6, 1.3)
        loop = _LOOP_CURVE * np.exp(_VALVE_SPREAD * valve) * (1 + 3 * blockage) / (1 + leak)
        churn = cavitation * (1 + 0.5 * draws[:, 2])
        head = np.maximum(_SHUTOFF_BAR * speed**2 * np.clip(1 - 0.12 * churn, 0.1, None) - _STATIC_BAR, 0.05)
        flow = np.sqrt(head / (_PUMP_CURVE + loop))
        pressure = _STATIC_BAR + loop * flow**2
        friction = _FRICTION_W * speed**2 * (1 + wear)
        losses = _IDLE_W + friction + (1 / _EFFICIENCY - 1) * pressure * flow * _W_PER_BAR_L_MIN
        current = (losses + pressure * flow * _W_PER_BAR_L_MIN) / _VOLT
        vibration = _VIBRATION_MM_S * speed**2 * (1 + 1.5 * wear + np.maximum(churn, 0))
        temperature = self._warm(_AMBIENT_C + _K_PER_W * losses)
        return np.column_stack([flow, pressure, current, vibration, temperature])

    def _strength(self, kind: PumpFaultKind, t_s: Doubles) -> Doubles:
        strengths = [fault.strength(t_s) for fault in self.faults if fault.kind == kind]
        return sum(strengths, start=np.zeros(len(t_s)))

    def _wander(self, draws: Doubles, state: float, lag_s: float) -> Doubles:
        """Ornstein-Uhlenbeck process of unit spread."""
        keep = np.exp(-1 / (self.rate_hz * lag_s))
        return _recursion(np.sqrt(1 - keep**2) * draws, keep, state)

    def _warm(self, target_c: Doubles) -> Doubles:
        """Follow the target temperature with the thermal lag."""
        keep = np.exp(-1 / (self.rate_hz * _THERMAL_LAG_S))
        warmed = _recursion((1 - keep) * target_c, keep, self._temperature)
        self._temperature = float(warmed[-1])
        return warmed

    def _break_sensor(self, fault: PumpFault, t_s: Doubles, readings: Doubles) -> None:
        if fault.kind not in (PumpFaultKind.STUCK, PumpFaultKind.LOST):
            return
        active = fault.active(t_s)
        if not active.any():
            return
        column = [channel.name for channel in PUMP_CHANNELS].index(fault.channel)
        held = self._stuck.setdefault(self.faults.index(fault), float(readings[int(active.argmax()), column]))
        readings[active, column] = held if fault.kind == PumpFaultKind.STUCK else np.nan


def _recursion(inputs: Doubles, keep: float, state: float) -> Doubles:
    """y[i] = keep y[i-1] + inputs[i], from y[-1] = state."""
    result = np.empty_like(inputs)
    for i, value in enumerate(inputs.tolist()):
        state = keep * state + value
        result[i] = state
    return result
