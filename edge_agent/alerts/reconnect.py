"""Why a connection ended, in words, and how long to wait before the next. Pure: reasons and times in, delays out.

    what happened                                        problem               next try
    nobody there, name unknown, broken off               unreachable           full jitter, 1 s to 300 s
    no answer in time                                    no_answer             full jitter
    the broker's certificate is not trusted or expired   broker_untrusted      long
    our certificate is refused or expired                certificate_refused   long
    user, password or client id refused                  not_authorised        long
    a secret file cannot be read                         secret_unreadable     long
    thrown out by our own client id twice in a minute    client_id_conflict    long
    the broker knows MQTT 3.1.1 only (`auto`)            -                     at once, with 3.1.1

Codes are those of MQTT 5; paho translates the answers of 3.1.1 brokers into them.
"""

from __future__ import annotations

import random
import re
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.alerts.credentials import SecretError
from edge_agent.backoff import Backoff

LONG_S = 300.0
"""Seconds to wait where only a person can help: as long as the longest back-off, so that a fleet with a wrong password
does not keep the broker's log busy. The delay is drawn from the upper half."""

CONFLICT_S = 60.0
"""Two take-overs within so many seconds mean two devices with one client id, not a stale connection of ours."""

SUSPICIOUS = 3
"""Hang-ups without a reason within `CONFLICT_S` that look like a second device with our client id: brokers that speak
MQTT 3.1.1, and mosquitto 2.0.11 in either version, do not say that they throw us out for another."""

SILENT_REFUSALS = 3
"""Connections in a row that end without an answer before `auto` tries MQTT 3.1.1: old brokers may hang up on MQTT 5."""


class Reason(StrEnum):
    """The `problems` of `health`, as far as connections go."""

    UNREACHABLE = "unreachable"
    NO_ANSWER = "no_answer"
    BROKER_UNTRUSTED = "broker_untrusted"
    CERTIFICATE_REFUSED = "certificate_refused"
    NOT_AUTHORISED = "not_authorised"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - a name, no secret
    CLIENT_ID_CONFLICT = "client_id_conflict"
    TAKEN_OVER = "taken_over"
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Ended:
    """Why there is no connection."""

    reason: Reason
    words: str
    """For the technician: what was expected, what came, what to do."""
    answered: bool = False
    """The broker had accepted the connection before."""
    hung_up: bool = False
    """The other end closed an accepted connection without a reason."""


_UNSUPPORTED_PROTOCOL, _TAKEN_OVER = 0x84, 0x8E
_NO_REASON = frozenset({0x00, 0x80})
"""Of a connection that ended without DISCONNECT, or with one that says nothing; paho makes 0x80 of the first."""
_UNAUTHORISED = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})
"""Client id not valid, bad user name or password, not authorised, banned, bad authentication method."""

_OUR_CERTIFICATE = re.compile(
    r"ALERT_(?!PROTOCOL|HANDSHAKE|INTERNAL|UNRECOGNIZED)|certificate required|alert (bad|unknown|certificate)",
    re.IGNORECASE,
)
"""How OpenSSL names the alerts by which a broker turns a client certificate down."""


def of_answer(code: int, name: str) -> Ended:
    """Diagnose a CONNACK that refuses."""
    if code == _UNSUPPORTED_PROTOCOL:
        return Ended(Reason.UNSUPPORTED, "the broker does not speak this version of MQTT: set protocol")
    if code in _UNAUTHORISED:
        return Ended(
            Reason.NOT_AUTHORISED, f"the broker refuses us: {name}: check username, password_file and client_id"
        )
    return Ended(Reason.REFUSED, f"the broker refuses the connection: {name}")


def of_loss(code: int, name: str, *, answered: bool, log: str, own_certificate: bool) -> Ended:
    """Diagnose a connection that ended.

    Args:
        code: of the DISCONNECT; 0 or paho's own where none came.
        name: the code in words.
        answered: it had been accepted.
        log: what the socket last said.
        own_certificate: we present one: TLS 1.3 refuses it only after the handshake.
    """
    if code == _TAKEN_OVER:
        return Ended(Reason.TAKEN_OVER, "another client with our client id has taken the session over", answered)
    if answered:
        return Ended(Reason.UNREACHABLE, f"connection lost: {log or name}", answered, hung_up=code in _NO_REASON)
    if _OUR_CERTIFICATE.search(log):
        return Ended(
            Reason.CERTIFICATE_REFUSED, f"the broker refuses our certificate: {log}: check cert_file and key_file"
        )
    hint = ": it may refuse our certificate" if own_certificate else ""
    return Ended(Reason.NO_ANSWER, f"the broker hung up without an answer{hint} ({log or name})")


def of_error(error: Exception, address: str) -> Ended:
    """Diagnose a connection that could not be made."""
    if isinstance(error, SecretError):
        return Ended(Reason.SECRET_UNREADABLE, str(error))
    if isinstance(error, ssl.SSLError):
        return _of_tls(error, address)
    if isinstance(error, TimeoutError):
        return Ended(Reason.NO_ANSWER, f"{address} does not answer")
    if isinstance(error, socket.gaierror):
        return Ended(Reason.UNREACHABLE, f"the name of {address} cannot be resolved: {error}")
    return Ended(Reason.UNREACHABLE, f"{address} cannot be reached: {error}")


def _of_tls(error: ssl.SSLError, address: str) -> Ended:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = (
            f"the certificate of {address} is not trusted: {error.verify_message}: check ca_file, host and the clock"
        )
        return Ended(Reason.BROKER_UNTRUSTED, words)
    if _OUR_CERTIFICATE.search(str(error)):
        return Ended(
            Reason.CERTIFICATE_REFUSED, f"{address} refuses our certificate: {error}: check cert_file and key_file"
        )
    return Ended(Reason.UNREACHABLE, f"no TLS with {address}: {error}: is this the TLS port?")


class Reconnect:
    """Remembers how connections ended and decides when and how to try again."""

    def __init__(self, protocol: str, rng: random.Random) -> None:
        """Take the setting `protocol` and the source of jitter."""
        self._auto = protocol == "auto"
        self._protocol = "5" if self._auto else protocol
        self._rng = rng
        self._backoff = Backoff(rng=rng)
        self._silent = 0
        self._taken_over_s: float | None = None
        self._hang_ups_s: list[float] = []
        self.problem: Reason | None = None
        """What keeps us from connecting, or kept us last; None once a connection holds."""

    @property
    def protocol(self) -> str:
        """Version of MQTT for the next connection: `5` or `3.1.1`."""
        return self._protocol

    def holds(self, now_s: float) -> None:
        """Say, now and then, that the connection is up (monotonic seconds)."""
        self._backoff.succeeded(now_s)
        self._silent = 0
        if self._taken_over_s is None or now_s - self._taken_over_s > CONFLICT_S:
            self.problem = None

    def ended(self, ended: Ended, now_s: float) -> float:
        """Take note of an end; returns the seconds to wait."""
        self.problem = ended.reason
        if self._fall_back(ended):
            return 0.0
        if ended.reason is Reason.TAKEN_OVER:
            before, self._taken_over_s = self._taken_over_s, now_s
            if before is not None and now_s - before <= CONFLICT_S:
                self.problem = Reason.CLIENT_ID_CONFLICT
                return self._long_s()
        if ended.reason in _FOR_A_PERSON:
            return self._long_s()
        return self._backoff.delay_s()

    def words(self, ended: Ended, now_s: float) -> str:
        """Return why a connection ended, with a suspicion where the broker keeps hanging up without a reason."""
        if not ended.hung_up:
            return ended.words
        self._hang_ups_s = [at_s for at_s in self._hang_ups_s if now_s - at_s <= CONFLICT_S] + [now_s]
        if len(self._hang_ups_s) < SUSPICIOUS:
            return ended.words
        return f"{ended.words} ({SUSPICIOUS} times in {CONFLICT_S:.0f} s: perhaps another device has our client id)"

    def _fall_back(self, ended: Ended) -> bool:
        """Go over to MQTT 3.1.1 where the broker seems to know nothing else."""
        self._silent = self._silent + 1 if ended.reason is Reason.NO_ANSWER and not ended.answered else 0
        if not self._auto or self._protocol != "5":
            return False
        if ended.reason is Reason.UNSUPPORTED or self._silent >= SILENT_REFUSALS:
            self._protocol = "3.1.1"
            return ended.reason is Reason.UNSUPPORTED
        return False

    def _long_s(self) -> float:
        self._backoff.delay_s()
        return self._rng.uniform(LONG_S / 2, LONG_S)


_FOR_A_PERSON = frozenset(
    {
        Reason.BROKER_UNTRUSTED,
        Reason.CERTIFICATE_REFUSED,
        Reason.NOT_AUTHORISED,
        Reason.SECRET_UNREADABLE,
        Reason.UNSUPPORTED,
    }
)
