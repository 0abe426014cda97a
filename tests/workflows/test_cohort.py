"""What ``finevox cohort`` does with many scans, and what it does and does not do again."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cohorts import (
    PLAIN,
    Cohort,
    Workers,
    assert_clean,
    fast_folder,
    images,
    make_bad_scans,
    make_scans,
    one_by_one,
    records,
    run,
    states,
    workers,
)
from images import command, contents, read_nifti, write_nifti
from phantoms import AFFINES, head_phantom
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from finevox.networks.shipped import find_shipped
from finevox.pipeline.cohort.store import Store
from finevox.pipeline.settings import DegradeSettings
from finevox.workflows.volume import DegradeWorkflow

Capture = pytest.CaptureFixture[str]
DONE, SOME_FAILED, UNUSABLE = 0, 1, 2


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with workers() as one:
        yield one


@pytest.fixture
def base() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


def outcome(cohort: Cohort) -> dict[str, list[str]]:
    """The cases that a run has brought to an end, by what became of them."""
    last = Store(cohort.output).last_run()
    assert last is not None
    found: dict[str, list[str]] = {"done": [], "failed": [], "skipped": []}
    for record in records(cohort.output):
        if record.run == last.run:
            found[record.state].append(record.case)
    assert sorted(itertools.chain(*found.values())) == sorted(last.cases)
    return {state: sorted(cases) for state, cases in found.items() if cases}


def planned(capture: Capture, *arguments: object) -> dict[str, tuple[str, str]]:
    """What a dry run says of each case."""
    answer = command(capture, "cohort", *arguments, "--dry-run", "--json")
    assert (answer.code, answer.err) == (DONE, "")
    return {entry["case"]: (entry["action"], entry["reason"]) for entry in answer.document}


def change(path: Path) -> None:
    """Change a byte of the content."""
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def test_a_cohort_with_bad_files(base: Path, pool: Workers, capfd: Capture) -> None:
    source, output = base / "in", base / "out"
    scans = make_scans(source, 40)
    torch.set_num_threads(1)
    expected = one_by_one(scans, base / "single", network="linear")
    bad = make_bad_scans(source)
    names = {scan.name.removesuffix(".nii.gz") for scan in scans}
    before = contents(source)

    cohort = run(source, output, *PLAIN, *pool.options)
    assert cohort.code == SOME_FAILED, cohort.err
    assert_clean(output)
    assert images(output) == expected
    assert outcome(cohort) == {"done": sorted(names), "failed": sorted(bad)}
    for case, record in Store(output).states().items():
        if case in bad:
            assert record.reason is not None
            assert bad[case] in record.reason
            assert str(record.source) in record.reason
            assert "\n" not in record.reason
            assert f"{case}: failed: {record.reason}" in cohort.err
            assert case in cohort.out
        else:
            assert len(record.outputs) == 2
            sidecar = json.loads((output / f"{case}.json").read_text())
            assert sidecar["SourceSHA256"] == record.source_sha256
    assert f"{output}: 40 done, {len(bad)} failed, 0 skipped" in cohort.out
    assert "Traceback" not in cohort.err
    assert contents(source).keys() == before.keys()
    assert not (output / ".finevox" / "thumbnails").exists()

    status = command(capfd, "cohort-status", output, "--json")
    assert status.document["state"] == "finished"
    totals = status.document["totals"]
    assert (totals["cases"], totals["done"], totals["failed"]) == (40 + len(bad), 40, len(bad))

    # What is new waits while those that failed are done again, of which one is repaired.
    for case in bad:
        if case not in ("corrupt", "empty"):
            (source / f"{case}.nii.gz").unlink()
    make_scans(source, 1, first=50)
    (source / "scan50.nii.gz").rename(source / "corrupt.nii.gz")
    make_scans(source, 1, first=51)
    cohort = run(source, output, *PLAIN, *pool.options, "--retry-failed", "--json")
    assert cohort.code == SOME_FAILED
    document = cohort.document
    assert (document["done"], document["failed"], document["skipped"]) == (1, 1, 0)
    assert [failure["case"] for failure in document["failures"]] == ["empty"]
    assert document["outcome"] == "finished"
    known = states(output)
    assert known["corrupt"] == "done"
    assert "scan51" not in known


def test_only_what_changed_is_done_again(base: Path, pool: Workers, capfd: Capture) -> None:
    source, output = base / "in", base / "out"
    make_scans(source, 6)
    assert planned(capfd, source, output, *PLAIN) == {
        f"scan{n:02}": ("do", "new") for n in range(6)
    }
    assert not output.exists()
    assert run(source, output, *PLAIN, *pool.options).code == DONE
    first = contents(output)
    whole = images(output)

    # All is there: no worker is even started.
    answer = command(capfd, "cohort", source, output, *PLAIN)
    assert (answer.code, answer.err) == (DONE, "")
    assert answer.out == f"{output}: 0 done, 0 failed, 6 skipped\n"
    assert images(output) == whole

    # Another input, another result, none at all, and a new one.
    data = np.asarray(read_nifti(source / "scan01.nii.gz").dataobj)
    write_nifti(source / "scan01.nii.gz", data[::-1].copy(), AFFINES["identity"])
    change(output / "scan02.nii.gz")
    change(output / "scan04.json")
    (output / "scan05.nii.gz").unlink()
    make_scans(source, 1, first=7)
    assert planned(capfd, source, output, *PLAIN) == {
        "scan00": ("skip", "done already with this input, these settings and these weights"),
        "scan01": ("do", "the input has changed"),
        "scan02": ("do", "its outputs are not as they were recorded"),
        "scan03": ("skip", "done already with this input, these settings and these weights"),
        "scan04": ("do", "its outputs are not as they were recorded"),
        "scan05": ("do", "its outputs are not as they were recorded"),
        "scan07": ("do", "new"),
    }
    cohort = run(source, output, *PLAIN, *pool.options)
    assert cohort.code == DONE, cohort.err
    again = ["scan01", "scan02", "scan04", "scan05", "scan07"]
    assert outcome(cohort) == {"done": again, "skipped": ["scan00", "scan03"]}
    assert_clean(output)
    expected = one_by_one(sorted(source.iterdir()), base / "single", network="linear")
    assert images(output) == expected
    assert {name for name in whole if expected[name] != whole[name]} == {"scan01.nii.gz"}
    for name in ("scan00", "scan03"):
        for suffix in (".nii.gz", ".json"):
            path = output / f"{name}{suffix}"
            assert path.read_bytes() == first[path]

    # Other settings do not mix with what is there; thumbnails are no settings of a result.
    before = contents(output)
    answer = command(capfd, "cohort", source, output, *PLAIN, "--dtype", "float32")
    assert answer.code == UNUSABLE
    assert "7 results of other settings or weights are there" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert contents(output) == before
    other = ("--network", "linear", "--dtype", "float32", *pool.options)
    cohort = run(source, output, *other, "--overwrite")
    assert cohort.code == DONE, cohort.err
    assert outcome(cohort) == {"done": ["scan00", *again[:2], "scan03", *again[2:]]}
    assert_clean(output)
    assert {read_nifti(path).get_data_dtype() for path in output.glob("*.nii.gz")} == {
        np.dtype(np.float32)
    }
    thumbnails = sorted((output / ".finevox" / "thumbnails").iterdir())
    assert len(thumbnails) == 7
    for path in thumbnails:
        with Image.open(path) as picture:
            picture.verify()
    whole = images(output)
    cohort = run(source, output, *other, "--force")
    assert outcome(cohort) == {"done": ["scan00", *again[:2], "scan03", *again[2:]]}
    assert images(output) == whole


def test_a_failure_names_the_older_result_that_stays(base: Path, pool: Workers) -> None:
    source, output = base / "in", base / "out"
    make_scans(source, 1)
    assert run(source, output, *PLAIN, *pool.options).code == DONE
    whole = images(output)
    (source / "scan00.nii.gz").write_bytes(b"damaged")
    cohort = run(source, output, *PLAIN, *pool.options)
    assert cohort.code == SOME_FAILED
    assert "scan00.nii.gz is an earlier result of it" in cohort.err
    assert images(output) == whole


def test_other_weights_are_other_results(base: Path, pool: Workers, capfd: Capture) -> None:
    source, output, weights = base / "in", base / "out", base / "own.safetensors"
    scans = make_scans(source, 2)
    shutil.copy(find_shipped("fmen", 2, 2, "bicubic"), weights)
    options = ("--weights", weights, "--no-thumbnails")
    assert run(source, output, *options, *pool.options).code == DONE
    assert images(output) == one_by_one(scans, base / "single")
    first = images(output)
    # A copy is the same, by whatever name.
    weights = weights.rename(base / "renamed.safetensors")
    options = ("--weights", weights, "--no-thumbnails")
    assert set(planned(capfd, source, output, *options).values()) == {
        ("skip", "done already with this input, these settings and these weights")
    }
    change_weights(weights)
    answer = command(capfd, "cohort", source, output, *options)
    assert answer.code == UNUSABLE
    assert "results of other settings or weights" in answer.err
    assert images(output) == first
    cohort = run(source, output, *options, *pool.options, "--overwrite")
    assert cohort.code == DONE, cohort.err
    assert_clean(output)
    assert images(output).keys() == first.keys()
    assert all(content != first[name] for name, content in images(output).items())


def change_weights(path: Path) -> None:
    """Change every weight a little."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor * 1.01 for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata)


def test_a_file_that_is_somebody_s_stays(base: Path, pool: Workers) -> None:
    source, output = base / "in", base / "out"
    scans = make_scans(source, 4)
    expected = one_by_one(scans, base / "single", network="linear")
    output.mkdir()
    (output / "scan01.nii.gz").write_bytes(b"by hand")
    (output / "scan02.json").write_bytes(b"notes")
    cohort = run(source, output, *PLAIN, *pool.options)
    assert cohort.code == SOME_FAILED
    assert outcome(cohort) == {"done": ["scan00", "scan03"], "failed": ["scan01", "scan02"]}
    for case, name in (("scan01", "scan01.nii.gz"), ("scan02", "scan02.json")):
        reason = Store(output).states()[case].reason or ""
        assert f"{output / name}: exists already and is not of this cohort" in reason
        assert "--overwrite" in reason
    assert (output / "scan01.nii.gz").read_bytes() == b"by hand"
    assert (output / "scan02.json").read_bytes() == b"notes"
    assert not (output / "scan02.nii.gz").exists()
    assert not (output / "scan01.json").exists()
    cohort = run(source, output, *PLAIN, *pool.options, "--overwrite")
    assert cohort.code == DONE, cohort.err
    assert outcome(cohort) == {"done": ["scan01", "scan02"], "skipped": ["scan00", "scan03"]}
    assert_clean(output)
    assert images(output) == expected


def test_nothing_to_do_says_what_was_looked_for(base: Path, capfd: Capture) -> None:
    source, output = base / "in", base / "out"
    source.mkdir()
    (source / "notes.txt").write_text("no scans here")
    answer = command(capfd, "cohort", source, output)
    assert (answer.code, answer.out) == (UNUSABLE, "")
    (line,) = answer.err.splitlines()
    assert f"{source}: no image (.nii.gz," in line
    answer = command(capfd, "cohort", base / "nowhere", output, "--json")
    assert (answer.code, answer.out) == (UNUSABLE, "")
    assert f"{base / 'nowhere'}: no such file or folder" in answer.err
    assert not output.exists()


def test_a_network_for_each_contrast_of_ixi(base: Path, pool: Workers) -> None:
    source, output = base / "IXI", base / "out"
    scans = {}
    for contrast, scan in zip(("T1", "T2", "PD") * 2, make_scans(base / "plain", 6), strict=True):
        number, site = ("002", "Guys") if int(scan.name[4:6]) < 3 else ("012", "HH")
        path = source / contrast / f"IXI{number}-{site}-08{number}-{contrast}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scan, path)
        scans[path] = {"T1": "linear", "T2": "bicubic", "PD": "zerofill"}[contrast]
    networks = ("--network-for", "T2=bicubic", "--network-for", "PD=zerofill")
    cohort = run(source, output, *PLAIN, *networks, *pool.options)
    assert cohort.code == DONE, cohort.err
    assert_clean(output)
    expected = {
        f"{path.parent.name}/{path.name}": one_by_one([path], base / "single", network=network)[
            path.name
        ]
        for path, network in scans.items()
    }
    assert images(output) == expected
    for record in records(output):
        assert (record.subject, record.site) in (("IXI002", "Guys"), ("IXI012", "HH"))
        assert f"-{record.contrast}" in record.case
        assert scans[Path(record.source)] in (record.summary or "")


def test_settings_of_their_own_for_rows_of_a_list(base: Path, pool: Workers) -> None:
    scans = make_scans(base / "in", 3)
    rows: tuple[Mapping[str, Any], ...] = (
        {"scale": 3, "network": "linear"},
        {"scale": 2, "network": "spline", "axes": (1, 2)},
        {"scale": 2, "network": "linear", "dtype": "float64"},
    )
    lines = ["path\tscale\tnetwork\taxes\tdtype\tsubject"]
    for scan, row in zip(scans, rows, strict=True):
        axes = ",".join(map(str, row.get("axes", ()))) or "n/a"
        cells = (f"in/{scan.name}", row["scale"], row["network"], axes, row.get("dtype", ""), "x")
        lines.append("\t".join(map(str, cells)))
    (base / "list.tsv").write_text("\n".join(lines))
    cohort = run(base / "list.tsv", base / "out", "--no-thumbnails", *pool.options, "--json")
    assert cohort.code == DONE, cohort.err
    assert cohort.document["done"] == 3
    expected = {
        f"in/{scan.name}": one_by_one([scan], base / "single", **row)[scan.name]
        for scan, row in zip(scans, rows, strict=True)
    }
    assert images(base / "out") == expected
    assert {record.subject for record in records(base / "out")} == {"x"}


def test_a_cohort_of_lower_resolution(base: Path, pool: Workers) -> None:
    source, output = base / "in", base / "out"
    scans = make_scans(source, 3)
    options = ("--job", "degrade", "--kind", "kspace", "--noise-snr-db", "20", "--seed", "5")
    cohort = run(source, output, *options, "--no-thumbnails", *pool.options)
    assert cohort.code == DONE, cohort.err
    assert_clean(output)
    for scan in scans:
        # Each has noise of its own; its sidecar has the seed.
        sidecar = json.loads((output / scan.name.replace(".nii.gz", ".json")).read_text())
        settings = DegradeSettings("kspace", noise_snr_db=20, seed=sidecar["Seed"])
        workflow = DegradeWorkflow(scan, base / scan.name, settings)
        workflow.initialize()
        workflow.run()
        assert (output / scan.name).read_bytes() == (base / scan.name).read_bytes()


def test_a_bids_dataset(base: Path, pool: Workers, capfd: Capture) -> None:
    source, output = base / "bids", base / "finevox"
    volume = head_phantom((16, 14, 6))
    for subject in ("01", "02"):
        folder = source / f"sub-{subject}" / "anat"
        folder.mkdir(parents=True)
        for suffix in ("T1w", "T2w"):
            path = folder / f"sub-{subject}_acq-thick_{suffix}.nii.gz"
            write_nifti(path, volume, AFFINES["oblique"])
        labels = (volume > 500).astype(np.uint8)
        write_nifti(folder / f"sub-{subject}_acq-thick_dseg.nii.gz", labels, AFFINES["oblique"])
    (source / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    chosen = ("--suffix", "T1w", "--participant-label", "sub-02", "--carry")
    cohort = run(source, output, *PLAIN, *chosen, *pool.options)
    assert cohort.code == DONE, cohort.err
    assert_clean(output)
    stem = "sub-02/anat/sub-02_acq-thick_desc-sr"
    assert images(output).keys() == {f"{stem}_T1w.nii.gz", f"{stem}_dseg.nii.gz"}
    grids = [
        (image.shape, image.affine.tolist())
        for image in (read_nifti(output / name) for name in images(output))
    ]
    assert grids[0] == grids[1]
    assert grids[0][0] == (32, 28, 6)
    (record,) = records(output)
    assert (record.subject, record.contrast) == ("02", "T1w")
    assert isinstance(record.source_sha256, dict)
    description = json.loads((output / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../bids"}
    sidecar = json.loads((output / f"{stem}_T1w.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-02/anat/sub-02_acq-thick_T1w.nii.gz"]

    # Labels are a part of the input.
    labels = (volume > 300).astype(np.uint8)
    write_nifti(folder / "sub-02_acq-thick_dseg.nii.gz", labels, AFFINES["oblique"])
    assert planned(capfd, source, output, *PLAIN, *chosen) == {
        record.case: ("do", "the input has changed")
    }
