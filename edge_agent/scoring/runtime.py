"""Which TFLite runtime is installed, and how to open an interpreter with it.

`ai_edge_litert` is taken first: it has wheels for every supported Python and Debian release. `tflite_runtime` is the
older, smaller one (Python 3.11, numpy 1). Both offer the same `Interpreter`; the newer `CompiledModel` is not used, it
was slower.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edge_agent.errors import ScoringError

_log = logging.getLogger(__name__)

_MODULES = {"litert": "ai_edge_litert.interpreter", "tflite": "tflite_runtime.interpreter"}
_PACKAGES = {"litert": "ai-edge-litert", "tflite": "tflite-runtime"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """An importable runtime."""

    name: str
    module: ModuleType

    @property
    def version(self) -> str:
        """Version of the installed package."""
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 30 ms that only `bench` and `info` need

        try:
            return version(_PACKAGES[self.name])
        except PackageNotFoundError:
            return "unknown"

    def interpreter(self, model: bytes, *, threads: int, delegate: str) -> tuple[Any, str]:
        """Return an interpreter with its tensors allocated, and the name of the delegate that it really uses.

        Raises:
            ScoringError: the runtime refuses the graph.
        """
        options: dict[str, Any] = {"model_content": model, "num_threads": threads}
        used = "xnnpack"
        if delegate == "none":
            options["experimental_op_resolver_type"] = self.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            used = "none"
        elif delegate not in {"auto", "xnnpack"}:
            try:
                ctypes.CDLL(delegate)  # a library that is not there leaves the runtime a half-made delegate
                options["experimental_delegates"] = [self.module.load_delegate(delegate)]
                used = delegate
            except (OSError, ValueError) as error:
                _log.warning("delegate %s cannot be loaded (%s): running on the CPU instead", delegate, error)
        try:
            interpreter = self.module.Interpreter(**options)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, SystemError, TypeError) as error:
            raise ScoringError(f"{_PACKAGES[self.name]} refuses the graph: {error}") from error
        return interpreter, used


def find_runtime(wanted: str = "auto") -> Runtime:
    """Return the runtime of that name (`litert`, `tflite`), or for `auto` the first that is installed.

    Raises:
        ScoringError: it is not installed.
    """
    names = list(_MODULES) if wanted == "auto" else [wanted]
    for name in names:
        try:
            return Runtime(name=name, module=importlib.import_module(_MODULES[name]))
        except ImportError:
            continue
    packages = " or ".join(_PACKAGES[name] for name in names)
    raise ScoringError(f'no TFLite runtime: expected {packages} to be installed; install it or set runtime = "auto"')
