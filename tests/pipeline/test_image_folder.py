"""2-D images become volumes of one slice, colours their luma."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import io

from finevox.errors import InputError
from finevox.pipeline.image_folder import find_pictures, read_picture

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6)


def save(path: Path, image: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, image, check_contrast=False)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_stays_as_it_is(tmp_path: Path, suffix: str, dtype: type) -> None:
    image: Any = GREY.astype(dtype) * (2000 if dtype == np.uint16 else 8)
    read = read_picture(save(tmp_path / f"a{suffix}", image))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read[..., 0], image)


@pytest.mark.parametrize("opacity", [False, True])
@pytest.mark.parametrize(
    ("colour", "luma"),
    [
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
        ((255, 255, 255), 235),
        ((0, 0, 0), 16),
    ],
)
def test_luma_of_pure_colours(
    tmp_path: Path, colour: tuple[int, ...], luma: float, opacity: bool
) -> None:
    """ITU-R BT.601: Y = 16 + 65.481 R + 128.553 G + 24.966 B for R, G, B in 0..1."""
    image = np.tile(np.array([*colour, *[255] * opacity], np.uint8), (2, 5, 1))
    read = read_picture(save(tmp_path / "a.png", image))
    assert read.shape == (2, 5, 1)
    np.testing.assert_allclose(read, luma, atol=1e-3)


def test_images_below_a_folder_are_one_subject(tmp_path: Path) -> None:
    names = ("b.png", "scene/1.png", "scene/deeper/2.tif", "a.TIFF")
    for name in names:
        save(tmp_path / name, GREY)
    (tmp_path / "notes.txt").write_text("none")
    found = find_pictures(tmp_path)
    assert {(path.name, subject) for path, subject in found} == {
        ("a.TIFF", "a"),
        ("b.png", "b"),
        ("1.png", "scene"),
        ("2.tif", "scene"),
    }


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not one")
    with pytest.raises(InputError, match=r"a\.png"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.tif.*shape"):
        read_picture(save(tmp_path / "b.tif", np.zeros((5, 6, 7), np.float32)))
