"""Whether a run stays within --max-memory: peak of the whole process against the bound.

python benchmarks/memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from finevox.pipeline.settings import parse_memory

BOUNDS = ("1G", "1.5G", "3G")
SHAPE = (256, 256, 8)
RUNS = (
    ("fmen", "--axes", "0,1"),
    ("edsr", "--axes", "0,1", "--random-weights"),
    ("vdsr", "--axes", "0,1", "--random-weights"),
    ("fmen", "--axes", "0,1,2", "--random-weights"),
)


def main() -> None:
    """Print peak and bound of each run."""
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.nii.gz"
        samples = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)
        nib.Nifti1Image(samples, np.eye(4)).to_filename(scan)
        for network, *options in RUNS:
            for bound in BOUNDS:
                command = [sys.executable, "-m", "finevox.workflows.cli", "upscale", str(scan)]
                command += [str(Path(folder) / "out.nii.gz"), "--overwrite", "--json"]
                command += ["--network", network, "--max-memory", bound, *options]
                done = subprocess.run(command, check=False, capture_output=True, text=True)
                what = f"{network} {' '.join(options):32} bound {bound:>4}"
                if done.returncode:
                    print(f"{what}: {done.stderr.strip().splitlines()[-1]}")
                    continue
                record = json.loads(done.stdout)
                share = record["PeakMemoryBytes"] / parse_memory(bound)
                print(f"{what}: peak {share:.2f} of the bound, {record['Seconds']} s", flush=True)


if __name__ == "__main__":
    main()
