"""Computed heads are the same every time, of many subjects, in several contrasts."""

from __future__ import annotations

import numpy as np
import pytest

from finevox.errors import InputError
from finevox.pipeline.phantom import (
    PHANTOM_CONTRASTS,
    make_phantom,
    phantom_grid,
    phantom_subjects,
)


def test_subjects_are_numbered() -> None:
    assert phantom_subjects(2) == ["phantom-001", "phantom-002"]


def test_a_phantom_follows_from_its_name() -> None:
    one = make_phantom("phantom-001", "T1w")
    assert one.shape == phantom_grid().shape
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, make_phantom("phantom-001", "T1w"))
    assert np.abs(one - make_phantom("phantom-002", "T1w")).mean() > 10


def test_contrasts_show_the_same_head() -> None:
    volumes = [make_phantom("phantom-003", contrast) for contrast in PHANTOM_CONTRASTS]
    for volume in volumes:
        np.testing.assert_array_equal(volume > 0, volumes[0] > 0)
        assert volume.min() == 0
        assert volume.max() <= 1000
        # Air around, and far from all of it is air.
        assert 0.2 < (volume > 0).mean() < 0.7
    assert np.corrcoef(volumes[0].ravel(), volumes[1].ravel())[0, 1] < 0.9


@pytest.mark.parametrize(
    ("subject", "contrast"), [("phantom-001", "CT"), ("sub-01", "T1w"), ("phantom-x", "T1w")]
)
def test_other_phantoms_are_refused(subject: str, contrast: str) -> None:
    with pytest.raises(InputError, match=r"CT|phantom"):
        make_phantom(subject, contrast)
