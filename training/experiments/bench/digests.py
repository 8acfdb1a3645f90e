"""Digests of all that a kept result depends on: recipe, data and the code that makes it.

The code that matters is what the detector's own module imports, at any depth, and what the fit, the converter and the
device's pipeline import; of the registry of detectors only the detector at hand, so that a new detector or a change in
another one leaves kept results as they are.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from training.experiments.bench.cases import Case

PACKAGES = ("training", "converters", "edge_agent")
"""Code of the project; other packages count by nothing here, as the environment is locked."""

REGISTRIES = ("training.detectors", "training.images.detectors")
"""They name every detector; followed only from a detector that does so itself, such as an ensemble."""

MAKERS = ("training.experiments.bench.shipping", "training.experiments.bench.judging", "converters.tf_child")
"""Where a result is made, whatever the detector."""


def digest(*parts: str) -> str:
    """SHA-256 of texts, in hexadecimal."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def code_digest(module: str, makers: tuple[str, ...] = MAKERS) -> str:
    """Of the code behind a detector (or a published method) of that module, and of the modules that make a result."""
    own = _closure([module], followed=lambda _: True)
    makers_own = _closure(makers, followed=lambda name: name not in REGISTRIES)
    return digest(*(_source(name).read_text(encoding="utf-8") for name in sorted(own | makers_own)))


def case_digest(case: Case) -> str:
    """Of everything in a case that a result depends on."""
    found = hashlib.sha256(repr((case.channels, case.rate_hz, case.window_rows, case.stride)).encode())
    for rows in (case.train, *(trial.rows for trial in case.trials)):
        for array in (rows.values, rows.t_ns, rows.labels):
            if array is not None:
                found.update(np.ascontiguousarray(array).tobytes())
    for trial in case.trials:
        found.update(trial.name.encode() + trial.tested.tobytes())
    return found.hexdigest()


def _closure(roots: Iterable[str], *, followed: Callable[[str], bool]) -> set[str]:
    """Modules of the project that these import, at any depth, themselves included."""
    found: set[str] = set()
    left = list(roots)
    while left:
        module = left.pop()
        if module not in found and followed(module):
            found.add(module)
            left += _imports(module)
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of the project that a module's text imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(_source(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(sorted(name for name in names if name.split(".")[0] in PACKAGES and _is_module(name)))


@cache
def _is_module(name: str) -> bool:
    """Whether it is a module, and not a name inside one."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _source(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return Path(spec.origin)
