"""What a worker sends back, and the versions that go with it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from finevox.pipeline.cohort.record import Record

LIBRARIES = ("finevox", "monai", "nibabel", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class Report:
    """What a worker sends back.

    Parameters
    ----------
    record
        For the manifest.
    traceback
        Of a failure that finevox did not foresee.
    disk_error
        What is wrong with the disk of the output, where that is why the case failed.
    """

    record: Record
    traceback: str | None = None
    disk_error: str | None = None


@cache
def versions() -> dict[str, str]:
    """Of what a result may depend on."""
    own = {"python": platform.python_version()}
    return own | {name: version(name) for name in LIBRARIES}
