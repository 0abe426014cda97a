"""Reading and writing .nii.gz: finevox against nibabel as it comes.

    python benchmarks/read_write.py

A T1 head as int16 and as float32, with noise as every scan has it. nibabel's own default level of
compression is what it is compared with. Goals: at least 3 times as fast in writing, files at most
5 % larger. Both write into memory where there is such a folder, so that no disk is waited for.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from measure import MIB, Report, interleaved, options_of, ratios, spread, timed
from scans import head

from finevox.pipeline.read import read_volume
from finevox.pipeline.write import write_image

GOAL_WRITING, GOAL_SIZE = 3.0, 1.05
SHAPES, QUICK_SHAPES = ((128, 128, 64), (256, 256, 150)), ((192, 192, 64),)
SHM = Path("/dev/shm")  # noqa: S108 - a disk would be measured instead


def measure(shape: tuple[int, ...], dtype: str, folder: Path, rounds: int) -> dict[str, Any]:
    """A line of the table."""
    image = nib.Nifti1Image(head(shape).astype(dtype), np.eye(4))
    ours, theirs = folder / "finevox.nii.gz", folder / "nibabel.nii.gz"
    times = interleaved(
        {
            "write finevox": timed(lambda: write_image(image, ours)),
            "write nibabel": timed(lambda: image.to_filename(theirs)),
            "read finevox": timed(lambda: read_volume(theirs)),
            "read nibabel": timed(lambda: nib.load(theirs).get_fdata(dtype=np.float32)),
        },
        rounds,
    )
    writing = ratios(times["write nibabel"], times["write finevox"])
    reading = ratios(times["read nibabel"], times["read finevox"])
    samples, origin = read_volume(ours)
    # What is written is read by others as it was.
    assert np.array_equal(np.asanyarray(nib.load(ours).dataobj), np.asanyarray(image.dataobj))
    assert origin.grid.shape == shape
    return {
        "volume": "x".join(map(str, shape)),
        "type": dtype,
        "MiB": samples.size * np.dtype(dtype).itemsize / MIB,
        "writing, nibabel / finevox": spread(writing),
        "seconds to write": spread(times["write finevox"]),
        "size, finevox / nibabel": ours.stat().st_size / theirs.stat().st_size,
        "reading, nibabel / finevox": spread(reading),
        "seconds to read": spread(times["read finevox"]),
    }


def main() -> None:
    """Measure and print the table."""
    options = options_of(__doc__).parse_args()
    rounds = 3 if options.quick else 7
    shapes = QUICK_SHAPES if options.quick else SHAPES
    place = SHM if os.access(SHM, os.W_OK) else None
    with Report("read_write", options) as report, tempfile.TemporaryDirectory(dir=place) as name:
        rows = [
            measure(shape, dtype, Path(name), rounds)
            for shape in shapes
            for dtype in ("int16", "float32")
        ]
        report.table("Compressed NIfTI, against nibabel", rows)
        for row in rows:
            what = f"{row['volume']} {row['type']}"
            faster, size = row["writing, nibabel / finevox"], row["size, finevox / nibabel"]
            report.goal(
                f"{what}: written {GOAL_WRITING:g} times as fast",
                faster,
                met=faster.median >= GOAL_WRITING,
            )
            report.goal(f"{what}: size at most {GOAL_SIZE:g}", size, met=size <= GOAL_SIZE)


if __name__ == "__main__":
    main()
