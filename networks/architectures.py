"""The table of architectures: what each network is, without loading any of them.

This module imports neither torch nor a network, so listing the table is quick. A network is
reached by its ``target`` when :func:`finevox.networks.create` asks for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from finevox.errors import InputError


@dataclass(frozen=True)
class ArchSpec:
    """One row of the table; counts are for the paper's settings, 2-D, x2, one channel.

    Parameters
    ----------
    name, target
        Name in every interface, and ``module:Class``.
    paper, doi, year
        Where it was published.
    takes
        ``low``: the low-resolution image; ``interpolated``: one already at the output's size.
    scales
        Factors it was published for; sub-pixel layers allow any.
    receptive_field
        Width of the input that one output sample depends on, in samples.
    global_pooling
        Whether an output sample depends on the whole input, so that tiles cannot be exact.
    minimum_size, size_multiple
        Smallest side of an input, and what a side must be a multiple of.
    parameters, mult_adds
        Trainable numbers, and multiply-accumulates from 120x120 to 240x240, both of the form
        that inference runs.
    """

    name: str
    target: str
    paper: str
    doi: str
    year: int
    takes: Literal["low", "interpolated"]
    scales: tuple[int, ...]
    receptive_field: int
    global_pooling: bool
    minimum_size: int
    size_multiple: int
    parameters: int
    mult_adds: int

    @property
    def reference(self) -> str:
        """The paper in one line."""
        return f"{self.paper}, {self.year}, doi:{self.doi}"


def _table(*rows: ArchSpec) -> Mapping[str, ArchSpec]:
    return {row.name: row for row in rows}


ARCHITECTURES: Mapping[str, ArchSpec] = _table(
    ArchSpec(
        name="espcn",
        target="finevox.networks.espcn:ESPCN",
        paper="Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient "
        "Sub-Pixel Convolutional Neural Network",
        doi="10.1109/CVPR.2016.207",
        year=2016,
        takes="low",
        scales=(2, 3, 4),
        receptive_field=9,
        global_pooling=False,
        minimum_size=1,
        size_multiple=1,
        parameters=21_284,
        mult_adds=305_049_600,
    ),
    ArchSpec(
        name="vdsr",
        target="finevox.networks.vdsr:VDSR",
        paper="Kim, Lee and Lee, Accurate Image Super-Resolution Using Very Deep Convolutional "
        "Networks",
        doi="10.1109/CVPR.2016.182",
        year=2016,
        takes="interpolated",
        scales=(2, 3, 4),
        receptive_field=41,
        global_pooling=False,
        minimum_size=1,
        size_multiple=1,
        parameters=664_704,
        mult_adds=38_286_950_400,
    ),
    ArchSpec(
        name="edsr",
        target="finevox.networks.edsr:EDSR",
        paper="Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution",
        doi="10.1109/CVPRW.2017.151",
        year=2017,
        takes="low",
        scales=(2, 3, 4),
        receptive_field=73,
        global_pooling=False,
        minimum_size=1,
        size_multiple=1,
        parameters=1_367_553,
        mult_adds=19_682_611_200,
    ),
    ArchSpec(
        name="fmen",
        target="finevox.networks.fmen:FMEN",
        paper="Du et al., Fast and Memory-Efficient Network Towards Efficient Image "
        "Super-Resolution",
        doi="10.1109/CVPRW56347.2022.00101",
        year=2022,
        takes="low",
        scales=(2, 3, 4),
        receptive_field=69,
        global_pooling=False,
        minimum_size=1,
        size_multiple=1,
        parameters=320_322,
        mult_adds=4_597_430_400,
    ),
)


def architecture(name: str) -> ArchSpec:
    """The row of ``name``.

    Raises
    ------
    InputError
        If there is none; the message has the nearest names.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InputError(
            f"unknown network {name!r}: {hint}known networks: {', '.join(ARCHITECTURES)}"
        ) from None
