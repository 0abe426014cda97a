"""How far the output of up-sampling stages sees back into the low-resolution image."""

from __future__ import annotations

from finevox.networks.blocks import Scale, scale_tuple, upsampling_stages


def staged_reach(scale: Scale, spatial_dims: int, after: int, *, convolved: str = "before") -> int:
    """Input samples to each side that staged up-sampling and what follows it depend on.

    Exact for equal factors. Every stage of
    :func:`~finevox.networks.blocks.upsampling_stages` has one 3-wide convolution.

    Parameters
    ----------
    after
        Samples to each side, at the output's size, that the layers after the stages see.
    convolved
        ``before``: a stage convolves and then enlarges (pixel shuffle); ``after``: it enlarges
        and then convolves (nearest neighbour).
    """
    factors = scale_tuple(scale, spatial_dims)
    reach = []
    for axis in range(spatial_dims):
        seen = after
        for stage in reversed(upsampling_stages(factors)):
            if convolved == "before":
                seen = -(-seen // stage[axis]) + 1
            else:
                seen = -(-(seen + 1) // stage[axis])
        reach.append(seen)
    return max(reach)
