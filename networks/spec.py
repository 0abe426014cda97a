"""What a row of the table of architectures says, without loading torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "convolutional",
    "attention",
    "transformer",
    "adversarial",
    "dictionary",
    "classical",
    "discriminator",
]


@dataclass(frozen=True)
class ArchSpec:
    """One row of the table; counts are for the row's settings, 2-D, x2, one channel.

    Parameters
    ----------
    name, target
        Name in every interface, and ``module:Class``.
    paper, doi, year
        Where it was published. ``doi`` is empty where the paper has none; ``year`` is None where
        the text at hand tells no authors, title or year, and ``paper`` then says what it is about.
    kind
        What sort of method it is. Classical ones have nothing to train; discriminators judge
        images instead of enlarging them.
    takes
        ``low``: the low-resolution image; ``interpolated``: one already at the output's size.
    scales
        Factors it was published for; sub-pixel layers allow any.
    receptive_field
        Width of the input that one output sample depends on, in samples, of the 2-D form; with
        global pooling, the width without that pooling; None where there is no such width.
    parameters, mult_adds
        Numbers of the network, and multiply-accumulates of its convolutions and matrix products
        from 120x120 to 240x240, both of the form that inference runs.
    global_pooling
        Whether an output sample depends on the whole input, so that tiles cannot be exact.
    minimum_size, size_multiple
        Smallest side of an input, and what a side must be a multiple of; the pipeline pads.
    spatial_dims
        Dimensions that it exists for.
    autocast
        Whether it runs under ``torch.autocast`` in bfloat16.
    image_range
        Intensity of white that the published weights were trained for; ours take 0 to 1.
    settings
        Arguments of the class that make this row, where it is not the class's defaults.
    interpretation
        Empty where the network is the published one; else what is not known of it, and what was
        chosen.
    source, licence
        The public code whose state-dict keys ours follow, and the licence of that code. Facts
        were taken from it, never lines.
    """

    name: str
    target: str
    paper: str
    doi: str
    year: int | None
    kind: Kind
    takes: Literal["low", "interpolated"]
    scales: tuple[int, ...]
    receptive_field: int | None
    parameters: int
    mult_adds: int
    global_pooling: bool = False
    minimum_size: int = 1
    size_multiple: int = 1
    spatial_dims: tuple[int, ...] = (2, 3)
    autocast: bool = True
    image_range: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    interpretation: str = ""
    source: str = ""
    licence: str = ""

    @property
    def reference(self) -> str:
        """The paper in one line."""
        return self.titled + (f", doi:{self.doi}" if self.doi else "")

    @property
    def titled(self) -> str:
        """Authors, title and year, as far as they are known."""
        return self.paper if self.year is None else f"{self.paper}, {self.year}"

    @property
    def citation(self) -> str:
        """First author and year, as one refers to it in a sentence."""
        if self.year is None:
            return "authors not known"
        author = re.split(r",| et al| and ", self.paper)[0]
        return f"{author} {self.year}"

    @property
    def field_text(self) -> str:
        """How far an output sample sees, in words of a table."""
        if self.receptive_field is None and self.classical:
            return "-"
        return "whole" if self.global_pooling else str(self.receptive_field)

    @property
    def classical(self) -> bool:
        """Whether there is nothing to train, so that no weights are needed."""
        return self.kind == "classical"
