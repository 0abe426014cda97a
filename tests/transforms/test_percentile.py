"""Percentiles and smoothing piece by piece give the numbers of the whole."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from finevox.transforms import IntensityMap, blocks
from finevox.transforms.percentile import Percentile


@given(
    values=st.sampled_from(("float32", "float64")).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.integers(1, 300),
            elements=st.floats(-1e6, 1e6, width=32),
        )
    ),
    percent=st.floats(0, 100),
    cuts=st.lists(st.integers(0, 300), max_size=6),
)
@settings(deadline=None, max_examples=200)
def test_pieces_give_the_percentile_of_all(
    values: npt.NDArray[Any], percent: float, cuts: list[int]
) -> None:
    kept = Percentile(percent, values.size)
    ends = [0, *sorted(min(cut, values.size) for cut in cuts), values.size]
    for start, stop in itertools.pairwise(ends):
        kept.add(values[start:stop])
    assert kept.value() == pytest.approx(np.percentile(values, percent), rel=1e-6, abs=1e-30)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    kind=st.sampled_from(("noise", "background", "few", "wide")),
    planes=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
@settings(deadline=None, max_examples=40)
def test_the_map_is_that_of_the_definition(
    order: Any, dtype: str, shape: tuple[int, int, int], kind: str, planes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    volume = {
        "noise": rng.normal(100, 30, shape),
        "background": np.maximum(rng.normal(size=shape), 0.9),
        "few": (rng.random(shape) < 0.01) * 700.0,
        "wide": rng.normal(size=shape) * 10.0 ** rng.integers(-5, 5, shape),
    }[kind]
    volume = np.array(volume, dtype, order=order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_SAMPLES", planes * shape[0] * shape[1])
        patch.setattr(blocks, "LINE_SAMPLES", planes)
        found = IntensityMap.of(volume)
    low = np.percentile(ndimage.uniform_filter(volume.astype(np.float64), 3), 0.5)
    high = np.percentile(volume, 99.5)
    if np.ptp(volume) == 0:
        assert found is None
        return
    assert found is not None
    if high <= low:
        low, high = volume.min(), volume.max()
    # To the last bit, which is what keeps results of earlier versions.
    assert (found.offset, found.gain) == (float(low), float(high) - float(low))
