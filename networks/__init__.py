"""Networks: the table of architectures, building them by name, and their weights.

Importing this package loads neither torch nor a network; using it does.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from finevox.networks.architectures import ARCHITECTURES, DISCRIMINATORS, ArchSpec, architecture
    from finevox.networks.build import Network, create
    from finevox.networks.checkpoint import load, save
    from finevox.networks.ensemble import SelfEnsemble
    from finevox.networks.inflate import inflated
    from finevox.networks.shipped import (
        Choice,
        Shipped,
        choose_shipped,
        find_shipped,
        named_weights,
        shipped,
    )
else:
    __getattr__, __dir__, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "architectures": ["ARCHITECTURES", "DISCRIMINATORS", "ArchSpec", "architecture"],
            "build": ["Network", "create"],
            "checkpoint": ["load", "save"],
            "ensemble": ["SelfEnsemble"],
            "inflate": ["inflated"],
            "shipped": [
                "Choice",
                "Shipped",
                "choose_shipped",
                "find_shipped",
                "named_weights",
                "shipped",
            ],
        },
    )

__all__ = [
    "ARCHITECTURES",
    "DISCRIMINATORS",
    "ArchSpec",
    "Choice",
    "Network",
    "SelfEnsemble",
    "Shipped",
    "architecture",
    "choose_shipped",
    "create",
    "find_shipped",
    "inflated",
    "load",
    "named_weights",
    "save",
    "shipped",
]
