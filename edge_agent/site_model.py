"""What was learned on site, as a file in the stream's folder: of a stream without a bundle, or beside its bundle."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from edge_agent.contract import strict_json
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest import GraphSpec, InputSpec
from edge_agent.contract.prefilter import Prefilter
from edge_agent.errors import BundleError, ManifestError
from edge_agent.files import load_kept, read_kept, replace_file

_log = logging.getLogger(__name__)

SITE_FILE = "site.json"
"""Name of the on-site calibration of a bundle in the stream's folder."""
LEARNED_FILE = "learned.json"
"""Name of the Gaussian learned on site where there is no bundle."""
MAX_SITE_BYTES = 96 << 20
"""Largest site file read: the prefilter of 512 channels has 52 MB of precision matrix, a third more in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteModel:
    """What was learned on site."""

    input: InputSpec
    calibration: Calibration
    prefilter: Prefilter
    graph_sha256: str = ""
    """Digest of the graph it belongs to; empty: the Gaussian alone."""
    created: str = ""
    """UTC, ISO 8601."""

    def save(self, path: Path) -> None:
        """Write the file so that a power cut leaves the old one or the new one."""
        document = {
            "input": strict_json.plain(self.input),
            "calibration": self.calibration.to_dict(),
            "prefilter": base64.b64encode(self.prefilter.to_bytes()).decode("ascii"),
            "graph_sha256": self.graph_sha256,
            "created": self.created,
        }
        replace_file(path, json.dumps(document).encode())

    @classmethod
    def load(cls, path: Path) -> SiteModel:
        """Read the file.

        Raises:
            FileNotFoundError: there is none.
            ManifestError: it is not what `save` wrote.
        """
        content = read_kept(path, MAX_SITE_BYTES)
        try:
            document = strict_json.parse(content, place=path.name, max_bytes=MAX_SITE_BYTES)
            stored = strict_json.read(_SiteFile, document, path.name)
            prefilter = Prefilter.from_npz(base64.b64decode(stored.prefilter, validate=True))
        except (ValueError, BundleError) as error:
            raise ManifestError(f"{path}: not a site calibration ({error}); remove it and calibrate again") from error
        return cls(
            input=stored.input,
            calibration=stored.calibration,
            prefilter=prefilter,
            graph_sha256=stored.graph_sha256,
            created=stored.created,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SiteFile:
    input: InputSpec
    calibration: Calibration
    prefilter: str
    graph_sha256: str
    created: str


def site_of(folder: Path, bundle: Bundle) -> tuple[SiteModel | None, str]:
    """Return the on-site calibration of a stream, where there is one that fits the bundle, and else why not."""
    try:
        site = SiteModel.load(folder / SITE_FILE)
    except FileNotFoundError:
        return None, ""
    except ManifestError as error:
        return None, str(error)
    rule = bundle.manifest.decision.rule
    if site.input != bundle.manifest.input or (site.calibration.n, site.calibration.m) != (rule.n, rule.m):
        return None, "the on-site calibration is for another bundle and is not used: calibrate again"
    return site, ""


def site_model(folder: Path, spec: GraphSpec) -> SiteModel | None:
    """Return the on-site calibration of a stream, where there is one for this very graph."""
    site = load_kept(folder / SITE_FILE, SiteModel.load)
    if site is not None and site.graph_sha256 != spec.sha256:
        _log.warning("%s is for another graph and is not used; calibrate again", folder / SITE_FILE)
        return None
    return site
