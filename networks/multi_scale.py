"""What networks with an up-sampler for each of several scales have in common."""

from __future__ import annotations

from collections.abc import Sequence

from finevox.networks.blocks import Scale, scale_tuple
from finevox.networks.build import Network
from finevox.networks.reach import upsampling_reach


class MultiScale(Network):
    """A network that holds several scales and is set to one of them.

    Parameters
    ----------
    scale
        The scale that it is set to first.
    scales
        All that it holds, each a factor or one per axis.
    before, after
        Samples to each side that its layers see at the input's and at the output's size.

    Raises
    ------
    ValueError
        If ``scale`` is not among ``scales``.
    """

    def __init__(
        self, spatial_dims: int, scale: Scale, scales: Sequence[Scale], *, before: int, after: int
    ) -> None:
        super().__init__()
        self.factors = scale_tuple(scale, spatial_dims)
        self._scales = tuple(scale_tuple(one, spatial_dims) for one in scales)
        if self.factors not in self._scales:
            raise ValueError(f"scale {scale!r} has no head; add it to scales, which has {scales!r}")
        self._before, self._after = before, after
        self.halo = self._reach()

    @property
    def scales(self) -> tuple[tuple[int, ...], ...]:
        """The factors of its heads."""
        return self._scales

    def at_scale(self, scale: Scale) -> Network:
        """The network itself, set to another scale that it holds; the halo follows.

        Raises
        ------
        InputError
            If it does not hold that scale.
        """
        super().at_scale(scale)
        self.halo = self._reach()
        return self

    def _reach(self) -> int:
        return self._before + upsampling_reach(self.factors, self._after)
