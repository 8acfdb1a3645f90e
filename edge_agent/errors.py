"""Every error the agent raises, grouped by what the caller should do.

EdgeAgentError
├── ConfigError           operator: all problems at once, each with its place and a hint; exit 78
├── SourceError           world
│   ├── SourceUnavailable     reopen with back-off
│   ├── FrameError            drop the frame and count it
│   └── EndOfData             a finite source is finished: stop the stream
├── BundleError           publisher: refuse the bundle, keep the active one
│   ├── ManifestError         a member is missing or does not say what it must
│   ├── DigestMismatch        a member is not the one the manifest names
│   ├── UnsupportedFormat     made by a newer converter
│   ├── UntrustedSignature    not signed by a trusted key
│   └── RollbackRefused       older than what the device has had
├── ScoringError          bundle or hardware: fall back to the Gaussian and say so
└── DownloadError         network: try later
"""

from __future__ import annotations

from dataclasses import dataclass


class EdgeAgentError(Exception):
    """Base of all errors raised on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the settings or the hardware."""

    place: str
    """Where: a dotted settings path such as `streams.pump.source.port`."""
    message: str
    """What was expected and what came."""
    hint: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        """Return the line a technician reads."""
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(EdgeAgentError):
    """The settings cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        """Join the problems into one message, a line each."""
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class SourceError(EdgeAgentError):
    """Something about the port, camera or file."""


class SourceUnavailable(SourceError):
    """The device is not there or went away: reopen with back-off."""


class FrameError(SourceError):
    """A frame or line could not be understood: drop it and count it."""


class EndOfData(SourceError):
    """A finite source has given its last reading."""


class BundleError(EdgeAgentError):
    """The bundle is refused; the active one stays."""


class ManifestError(BundleError):
    """The manifest or a member it names is missing, malformed or beyond a limit."""


class DigestMismatch(BundleError):
    """A member's bytes are not those the manifest names."""


class UnsupportedFormat(BundleError):
    """The bundle's format version is not one this agent reads."""


class UntrustedSignature(BundleError):
    """The bundle is not vouched for by a trusted key."""


class RollbackRefused(BundleError):
    """The bundle is older than one this device has already run."""


class ScoringError(EdgeAgentError):
    """The graph cannot be loaded or does not score: fall back and say so."""


class DownloadError(EdgeAgentError):
    """The network failed: try later."""
