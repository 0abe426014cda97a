"""What travels to a worker for one case: paths and settings, never voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finevox.pipeline.cohort.case import Case, Layout
from finevox.pipeline.cohort.settings import CaseSettings
from finevox.pipeline.cohort.staging import Attempt


@dataclass(frozen=True)
class CaseTask:
    """One attempt at one case.

    Parameters
    ----------
    attempt
        What the worker may write to.
    root, layout
        Of the cohort.
    settings_sha256, weights_sha256
        By which a later run knows whether the result is what it would make.
    command
        What the sidecar says was run.
    device
        That the worker has for itself; None is what the settings say.
    tile
        Bound on the side of a tile; None where memory alone decides.
    """

    case: Case
    settings: CaseSettings
    run: str
    attempt: Attempt
    root: Path
    layout: Layout
    settings_sha256: str
    weights_sha256: str | None
    command: str
    thumbnail: bool = True
    device: str | None = None
    tile: int | None = None

    @property
    def key(self) -> str:
        """Unique in the run."""
        return self.case.name
