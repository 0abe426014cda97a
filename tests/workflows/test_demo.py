"""The demo at small size: the real path, on the volume that a dependency ships."""

from __future__ import annotations

from pathlib import Path

import pytest
from images import command, contents


def test_the_network_beats_interpolation(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    answer = command(capfd, "demo", "--output", folder, "--slices", 6, "--json")
    assert answer.code == 0, answer.err
    rows = {Path(row["test"]).name.split(".")[0]: row for row in answer.document["figures"]}
    for other in ("mni152_bicubic", "mni152_spline"):
        assert rows["mni152_fmen"]["psnr_db"] > rows[other]["psnr_db"] + 2
        assert rows["mni152_fmen"]["ssim_2d"] > rows[other]["ssim_2d"]
    picture = Path(answer.document["picture"])
    assert picture.read_bytes().startswith(b"\x89PNG")

    before = contents(folder)
    again = command(capfd, "demo", "--output", folder, "--slices", 6)
    assert again.code == 2
    assert "--overwrite" in again.err
    assert contents(folder) == before
