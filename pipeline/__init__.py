"""The stages between a file and a result: reading, planning, inference, writing, provenance."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from finevox.pipeline.classical import ClassicalInferer, DegradationInferer
    from finevox.pipeline.infer import NetworkInferer
    from finevox.pipeline.model import get_network
    from finevox.pipeline.plan import Plan, make_plan
    from finevox.pipeline.provenance import Provenance
    from finevox.pipeline.read import read_image, read_volume
    from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
    from finevox.pipeline.volume import Origin, Storage
    from finevox.pipeline.volumed import ReadVolumed, WriteVolumed
    from finevox.pipeline.write import make_image, write_image
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "classical": ["ClassicalInferer", "DegradationInferer"],
            "infer": ["NetworkInferer"],
            "model": ["get_network"],
            "plan": ["Plan", "make_plan"],
            "provenance": ["Provenance"],
            "read": ["read_image", "read_volume"],
            "settings": ["DegradeSettings", "UpscaleSettings"],
            "volume": ["Origin", "Storage"],
            "volumed": ["ReadVolumed", "WriteVolumed"],
            "write": ["make_image", "write_image"],
        },
    )

__all__ = [
    "ClassicalInferer",
    "DegradationInferer",
    "DegradeSettings",
    "NetworkInferer",
    "Origin",
    "Plan",
    "Provenance",
    "ReadVolumed",
    "Storage",
    "UpscaleSettings",
    "WriteVolumed",
    "get_network",
    "make_image",
    "make_plan",
    "read_image",
    "read_volume",
    "write_image",
]
