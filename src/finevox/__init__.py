"""finevox: MRI volumes in, MRI volumes of higher resolution out.

>>> import finevox
>>> fine = finevox.upscale("scan.nii.gz", scale=2)  # doctest: +SKIP
>>> fine.to_filename("fine.nii.gz")  # doctest: +SKIP

Importing this package loads neither torch nor monai; using it does.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

import lazy_loader

from finevox.errors import (
    CheckpointError,
    CohortError,
    ConfigError,
    FinevoxError,
    GeometryError,
    InputError,
)

if TYPE_CHECKING:
    from finevox.workflows.api import compare, degrade, upscale
else:
    __getattr__, _lazy_names, _ = lazy_loader.attach(
        "finevox",
        submodules=["configs", "networks", "pipeline", "transforms", "workflows"],
        submod_attrs={"workflows.api": ["compare", "degrade", "upscale"]},
    )

    def __dir__() -> list[str]:
        return sorted({*globals(), *_lazy_names()})


__version__ = version("finevox")

__all__ = [
    "CheckpointError",
    "CohortError",
    "ConfigError",
    "FinevoxError",
    "GeometryError",
    "InputError",
    "compare",
    "degrade",
    "upscale",
]
