"""The sidecar of a result: what was done to what, with what, and what was noticed."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finevox.pipeline.files import sha256_of
from finevox.pipeline.memory import peak_memory_bytes
from finevox.pipeline.volume import Origin
from finevox.transforms.grid import Grid

LIBRARIES = ("monai", "nibabel", "numpy", "scipy", "torch")


def command_line() -> str:
    """The command of this process as a shell would take it."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@cache
def _installed(name: str) -> str:
    """The version of a library: looked up once, for every look takes milliseconds."""
    return version(name)


@dataclass
class Provenance:
    """Collects the facts of one run; ``facts`` are those of its method."""

    description: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    command: str = field(default_factory=command_line)
    started: float = field(default_factory=time.monotonic)
    _hashes: dict[Path, Any] = field(default_factory=dict)

    def hash_source(self, origin: Origin) -> None:
        """Take the hash of a source now: a result may be about to replace it."""
        if origin.path is not None:
            self._hashes[origin.path] = sha256_of(origin.path)

    def record(
        self,
        origin: Origin,
        grid: Grid,
        convention: str,
        *,
        intensity: Sequence[Mapping[str, Any]] = (),
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The sidecar as JSON types."""
        source = origin.path
        return {
            "Description": self.description,
            "GeneratedBy": [{"Name": "finevox", "Version": _installed("finevox")}],
            "Command": self.command,
            "Sources": [] if source is None else [str(source)],
            "SourceSHA256": None if source is None else self._hash(source),
            "SourceShape": list(origin.header.get_data_shape()),
            "SourceSpacing_mm": [round(mm, 6) for mm in origin.grid.spacing_mm],
            "Shape": list(grid.shape),
            "Spacing_mm": [round(mm, 6) for mm in grid.spacing_mm],
            "Axes": [
                axis
                for axis, (old, new) in enumerate(zip(origin.grid.shape, grid.shape, strict=True))
                if old != new
            ],
            "Convention": convention,
            **self.facts,
            "Intensity": list(intensity),
            "Warnings": list(warnings),
            "Seconds": round(time.monotonic() - self.started, 3),
            "PeakMemoryBytes": peak_memory_bytes(),
            "Platform": platform.platform(),
            "Libraries": {name: _installed(name) for name in LIBRARIES},
        }

    def _hash(self, source: Path) -> Any:
        return self._hashes[source] if source in self._hashes else sha256_of(source)
