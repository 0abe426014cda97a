"""The table of architectures: what each method is, without loading any of them.

This module imports neither torch nor a network, so listing the table is quick. A network is
reached by its ``target`` when :func:`finevox.networks.create` asks for it.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping

from finevox.errors import InputError
from finevox.networks.spec import ArchSpec
from finevox.networks.table import (
    adversarial,
    attention,
    classical,
    dictionary,
    discriminators,
    lightweight,
    modern,
    mri,
    plain,
    residual,
)

__all__ = ["ARCHITECTURES", "DISCRIMINATORS", "ArchSpec", "architecture"]

FAMILIES = (
    classical,
    dictionary,
    plain,
    residual,
    lightweight,
    attention,
    mri,
    adversarial,
    modern,
)

# Everything that enlarges an image.
ARCHITECTURES: Mapping[str, ArchSpec] = {
    row.name: row for row in itertools.chain.from_iterable(family.ROWS for family in FAMILIES)
}
# What judges one, for adversarial training.
DISCRIMINATORS: Mapping[str, ArchSpec] = {row.name: row for row in discriminators.ROWS}


def architecture(name: str) -> ArchSpec:
    """The row of ``name``, of either table.

    Raises
    ------
    InputError
        If there is none; the message has the nearest names.
    """
    both = {**ARCHITECTURES, **DISCRIMINATORS}
    try:
        return both[name]
    except KeyError:
        near = difflib.get_close_matches(name, both, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(
            f"unknown network {name!r}: {hint}known networks: {', '.join(both)}"
        ) from None
