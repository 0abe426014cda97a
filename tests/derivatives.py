"""A BIDS dataset, what a run makes of it, and what the BIDS validator says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from images import write_nifti
from phantoms import affine_of, head_phantom

from finevox.pipeline.carry import carry
from finevox.pipeline.cohort.case import Cohort, Filters
from finevox.pipeline.cohort.derivative import (
    bids_sidecar,
    prepare_dataset,
    source_metadata,
    write_group,
)
from finevox.pipeline.cohort.discover import find_cohort
from finevox.pipeline.cohort.naming import carried_path, output_path, sidecar_of
from finevox.pipeline.cohort.record import Record
from finevox.pipeline.provenance import Provenance
from finevox.pipeline.read import read_volume
from finevox.pipeline.write import make_image, write_image, write_json
from finevox.transforms import enlarge

SHAPE = (24, 26, 12)
AFFINE = affine_of(
    (0.9375, 0.9375, 5.0), euler_rad=(0.1, 0.0, 0.2), origin_mm=(-11.0, -12.0, -30.0)
)
SCANNER = {
    "Manufacturer": "Siemens",
    "MagneticFieldStrength": 3,
    "PhaseEncodingDirection": "j-",
    "SliceThickness": 4.5,
    "SpacingBetweenSlices": 5.0,
    "ReconMatrixPE": 26,
    "EffectiveEchoSpacing": 0.00058,
    "MatrixCoilMode": "GRAPPA",
}


def put_json(path: Path, document: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def get_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def put_scan(path: Path, kind: str = "scan") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = head_phantom(SHAPE)
    if kind == "scan":
        return write_nifti(path, head.astype(np.int16), AFFINE)
    labels = np.digitize(head, [200, 400, 800] if kind == "dseg" else [100])
    return write_nifti(path, labels.astype(np.uint8), AFFINE)


def raw_dataset(root: Path) -> Path:
    """A small BIDS dataset: two subjects, one with a session, metadata at three levels."""
    put_json(
        root / "dataset_description.json",
        {"Name": "Phantoms", "BIDSVersion": "1.10.0", "DatasetType": "raw"},
    )
    (root / "README.md").write_text("Computed heads.\n" * 20, encoding="utf-8")
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n", encoding="utf-8")
    put_json(root / "T1w.json", SCANNER | {"EchoTime": 0.003})
    put_json(root / "acq-thick_T2w.json", SCANNER | {"EchoTime": 0.1})
    one, two = root / "sub-01" / "anat", root / "sub-02" / "ses-1" / "anat"
    put_scan(one / "sub-01_T1w.nii.gz")
    put_json(one / "sub-01_T1w.json", {"RepetitionTime": 2.3, "EchoTime": 0.0025})
    put_scan(one / "sub-01_acq-thick_T2w.nii.gz")
    put_scan(two / "sub-02_ses-1_acq-thick_run-1_T2w.nii.gz")
    put_json(two / "sub-02_ses-1_acq-thick_run-1_T2w.json", {"SliceTiming": [0.1] * SHAPE[2]})
    # Labels are derivatives: a dataset of their own, as BIDS wants it.
    manual = root / "derivatives" / "manual"
    put_json(
        manual / "dataset_description.json",
        {
            "Name": "manual", "BIDSVersion": "1.10.0", "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "manual"}],
        },
    )  # fmt: skip
    (manual / "README").write_text("Drawn by hand.\n", encoding="utf-8")
    put_scan(manual / "sub-01" / "anat" / "sub-01_space-orig_dseg.nii.gz", "dseg")
    put_json(manual / "sub-01" / "anat" / "sub-01_space-orig_dseg.json", {"Manual": True})
    put_scan(manual / "sub-01" / "anat" / "sub-01_space-orig_desc-brain_mask.nii.gz", "mask")
    put_json(manual / "desc-brain_mask.json", {"Type": "Brain"})
    return root


def cohort_of(root: Path, output: Path) -> Cohort:
    return find_cohort([str(root)], output, layout="bids", filters=Filters(), carry=True)


def make_derivative(root: Path, output: Path) -> list[Record]:
    """What a run writes: each scan enlarged twofold in its slices, labels carried."""
    prepare_dataset(output, root, "bids", "upscale")
    cohort = cohort_of(root, output)
    records = []
    for case in cohort.cases:
        samples, origin = read_volume(case.source)
        larger, grid = enlarge(samples[0], origin.grid, "bicubic", 2, (0, 1))
        image, _ = make_image(origin, larger[None], grid)
        made = Provenance("Resolution enhanced 2-fold by bicubic", {"Scale": 2})
        place = output_path(case, "bids", "sr")
        (output / place).parent.mkdir(parents=True, exist_ok=True)
        write_image(image, output / place)
        said = source_metadata(case.source, cohort.root)
        sidecar = bids_sidecar(made.record(origin, grid, "fov"), case, said, root=cohort.root)
        write_json(sidecar, output / sidecar_of(place))
        for one in case.carried:
            place = carried_path(case, "bids", "sr", one)
            write_image(carry(one.source, one.kind, grid, origin.grid), output / place)
            said = source_metadata(one.source, cohort.root)
            record = {"Description": "On the grid of the result"}
            sidecar = bids_sidecar(record, case, said, root=cohort.root, carried=one)
            write_json(sidecar, output / sidecar_of(place))
        records.append(
            record_of(
                case.name, subject=case.subject, session=case.session, contrast=case.contrast,
                metrics={"mean_in": 1.5, "com_shift_mm": 0.01},
            )
        )  # fmt: skip
    write_group(output, records)
    (output / "report.html").write_text("<html></html>", encoding="utf-8")
    put_json(output / ".finevox" / "runs" / "1.json", {})
    return records


def record_of(case: str, state: Any = "done", **facts: Any) -> Record:
    return Record(
        case=case, state=state, run="r", attempt="a", time="2026-01-01T00:00:00Z",
        source=f"/in/{case}.nii.gz", **facts,
    )  # fmt: skip


def validate(dataset: Path) -> list[dict[str, Any]]:
    """Issues that the BIDS validator has with a dataset, from the schema that it carries."""
    validator = Path(sys.executable).with_name("bids-validator-deno")
    environment = {key: value for key, value in os.environ.items() if key != "BIDS_SCHEMA"}
    # No look for a newer deno either; and whatever else it asked of a network would fail.
    nowhere = {"DENO_NO_UPDATE_CHECK": "1", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(validator), "--format", "json", str(dataset)],
        env=environment | nowhere,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.stdout, done.stderr
    issues: list[dict[str, Any]] = json.loads(done.stdout)["issues"]["issues"]
    return issues


def errors(issues: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Code, key and place of each error, sorted."""
    return sorted(
        (issue["code"], issue.get("subCode", ""), issue["location"])
        for issue in issues
        if issue["severity"] == "error"
    )
