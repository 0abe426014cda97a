"""What each case of a cohort is asked for, and the hash by which a later run knows it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from finevox.errors import FinevoxError, InputError
from finevox.pipeline.choice import classical_method, weights_path
from finevox.pipeline.cohort.case import Case
from finevox.pipeline.settings import (
    DegradeSettings,
    UpscaleSettings,
    parse_axes,
    parse_scale,
)
from finevox.transforms.enlargement import ENLARGEMENTS
from finevox.transforms.grid import per_axis
from finevox.transforms.resize import convention_of

Job = Literal["upscale", "degrade", "roundtrip"]
JOBS: tuple[str, ...] = get_args(Job)

# Settings that change how a result is computed and not what it is.
RUN_TIME = ("device", "engine", "max_memory", "tile", "weights")

# How the columns of a list are read.
PARSERS: Mapping[str, Any] = {
    "scale": parse_scale,
    "axes": parse_axes,
    "weights": Path,
    "noise_snr_db": float,
}


@dataclass(frozen=True)
class CaseSettings:
    """What is done to one case.

    ``degrade`` is None for the job upscale, ``upscale`` for the job degrade; a round trip has both.
    """

    job: Job
    upscale: UpscaleSettings | None
    degrade: DegradeSettings | None

    @property
    def scale_ijk(self) -> tuple[float, float, float]:
        """Factor along each axis; where the axes are still open, as if they were the first two."""
        part = self.upscale or self.degrade or UpscaleSettings()
        along = per_axis(part.scale, (0, 1) if part.axes == "auto" else part.axes)
        i, j, k = (along.get(axis, 1.0) for axis in range(3))
        return i, j, k

    def weights(self) -> Path | None:
        """The weights that it needs.

        Raises
        ------
        CheckpointError, InputError
            If there are none for the request.
        """
        return None if self.upscale is None else weights_path(self.upscale)

    def facts(self, weights_sha256: str | None) -> dict[str, Any]:
        """Everything that decides what the result is, as JSON types."""
        return {
            "job": self.job,
            "weights_sha256": weights_sha256,
            **{
                name: {
                    key: value
                    for key, value in dataclasses.asdict(part).items()
                    if key not in RUN_TIME
                }
                for name, part in (("upscale", self.upscale), ("degrade", self.degrade))
                if part is not None
            },
        }


@dataclass(frozen=True)
class CohortSettings:
    """The settings of a run: those of every case, and what differs by contrast.

    Parameters
    ----------
    job
        ``upscale``, ``degrade``, or ``roundtrip``: degrade, upscale, compare.
    upscale, degrade
        As for a single scan. A round trip takes scale, axes and degradation from ``upscale``.
    by_contrast
        Fields of :class:`UpscaleSettings` that replace those of ``upscale``, by contrast.
    carry
        Whether masks and labels are carried to the new grid.
    thumbnails
        Whether a picture is made of each case.
    """

    job: Job = "upscale"
    upscale: UpscaleSettings = field(default_factory=UpscaleSettings)
    degrade: DegradeSettings = field(default_factory=DegradeSettings)
    by_contrast: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    carry: bool = False
    thumbnails: bool = True

    def __post_init__(self) -> None:
        if self.job not in JOBS:
            raise InputError(f"job {self.job!r}: choose one of {', '.join(JOBS)}")

    def of(self, case: Case) -> CaseSettings:
        """Those of one case: the run's, then its contrast's, then its own row's.

        Raises
        ------
        InputError
            If a value cannot be used; the message names the case.
        """
        try:
            own = {name: _parsed(name, text) for name, text in case.settings}
            return self._with(dict(self.by_contrast.get(case.contrast or "", {})) | own)
        except FinevoxError as error:
            raise InputError(f"case {case.name}: {error}") from error

    def _with(self, own: Mapping[str, Any]) -> CaseSettings:
        if self.job == "degrade":
            return CaseSettings(self.job, None, _replaced(self.degrade, own))
        # A network or weights of its own take the place of both that the run names.
        base = self.upscale
        if "weights" in own:
            base = dataclasses.replace(base, network=None, random_weights=False)
        elif "network" in own:
            base = dataclasses.replace(base, weights=None)
        upscale = _replaced(base, own)
        if self.job == "upscale":
            return CaseSettings(self.job, upscale, None)
        given = {name: own[name] for name in ("noise_snr_db",) if name in own}
        kind = upscale.degradation or own.get("kind") or self.degrade.kind
        degrade = dataclasses.replace(
            self.degrade, scale=upscale.scale, axes=upscale.axes, kind=kind, dtype=None, **given
        )
        upscale = dataclasses.replace(upscale, degradation=kind)
        _check_leads_back(upscale, kind)
        return CaseSettings(self.job, upscale, degrade)

    def as_json(self) -> dict[str, Any]:
        """For the record of the run."""
        plain = json.dumps(dataclasses.asdict(self), default=str)
        return cast("dict[str, Any]", json.loads(plain))


def fingerprint(settings: CaseSettings, weights_sha256: str | None, *, carry: bool) -> str:
    """Hash of all that decides what a case's outputs are, besides its input."""
    facts = settings.facts(weights_sha256) | {"carry": carry}
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _replaced(settings: Any, own: Mapping[str, Any]) -> Any:
    """The settings with those of ``own`` that they have."""
    names = {one.name for one in dataclasses.fields(settings)}
    return dataclasses.replace(settings, **{n: value for n, value in own.items() if n in names})


def _check_leads_back(upscale: UpscaleSettings, kind: str) -> None:
    """Refuse a method whose result is on another grid than what was degraded."""
    method = classical_method(upscale)
    fitting = [one for one in ENLARGEMENTS if convention_of(one, kind) == convention_of(kind)]
    if method is not None and method not in fitting:
        raise InputError(
            f"network {method!r}: what {kind} degradation leaves is not brought back to the "
            f"original's grid by it; choose one of {', '.join(fitting)}, a network, or another kind"
        )


def _parsed(name: str, text: str) -> Any:
    try:
        return PARSERS.get(name, str)(text)
    except FinevoxError:
        raise
    except ValueError:
        raise InputError(f"{name} {text!r}: give a number") from None
