"""Evaluations from recipe to table: what is measured, kept, refused and left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from images import command, write_nifti
from phantoms import affine_of, head_phantom
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from small import build

from finevox import compare, degrade, upscale
from finevox.errors import ConfigError
from finevox.networks import save
from finevox.workflows.evaluation.evaluate import Evaluation, run_evaluation

Capture = pytest.CaptureFixture[str]
SHAPE = (26, 30, 12)
RECIPE: dict[str, Any] = {
    "methods": ["bicubic", "spline"],
    "scales": [2],
    "protocol": "volume",
    "examples": 0,
    "figures": False,
}
SUBJECTS = ("sub-a", "sub-b")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A BIDS folder: two subjects, two contrasts, slices across the last axis."""
    for number, subject in enumerate(SUBJECTS):
        folder = tmp_path / "data" / subject / "anat"
        folder.mkdir(parents=True)
        for contrast, power in (("T1w", 1.0), ("T2w", 2.0)):
            head = head_phantom((SHAPE[0] + number, *SHAPE[1:])) / 1000
            samples = np.rint(1000 * (1 - head**power) * (head > 0)).astype(np.int16)
            write_nifti(folder / f"{subject}_{contrast}.nii.gz", samples, affine_of((1, 1, 2)))
    return tmp_path / "data"


def weights(path: Path, subjects: list[str] | None, scale: int = 2, seed: int = 0) -> Path:
    """A tiny untrained network whose record names the subjects it was trained on."""
    record = {
        "convention": "fov",
        "degradation": "bicubic",
        "data": "computed heads",
        "licence": "CC0-1.0",
    }
    known = {} if subjects is None else {"subjects": subjects}
    save(build("espcn", scale=scale, seed=seed), path, {**record, **known})
    return path


def read_nifti(path: Path) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_filename(path)


def run(data: Path, folder: Path = Path("out"), /, **recipe: Any) -> Evaluation:
    config = data.parent / "evaluation.yaml"
    config.write_text(yaml.safe_dump({**RECIPE, **recipe}))
    return run_evaluation(config, data, data.parent / folder)


def test_figures_are_those_of_degrading_enlarging_and_comparing(data: Path) -> None:
    """With whole slices it is what the commands of the package do one after the other."""
    rows = run(data).rows
    assert len(rows) == 2 * 2 * 2
    scan = read_nifti(data / "sub-a" / "anat" / "sub-a_T1w.nii.gz")
    low = degrade(scan, "bicubic", 2, axes=(0, 1))
    for method in ("bicubic", "spline"):
        expected = compare(scan, upscale(low, 2, network=method, axes=(0, 1)))
        own = rows[(rows.label == method) & (rows.subject == "sub-a") & (rows.contrast == "T1w")]
        row = own.iloc[0]
        for name in ("psnr_db", "ssim_3d", "hfen", "nrmse", "mae", "peak"):
            assert row[name] == pytest.approx(expected[name], rel=1e-9), name
        assert row.ssim == pytest.approx(expected["ssim_2d"], rel=1e-9)
        assert row.file == "sub-a/anat/sub-a_T1w.nii.gz"


def test_csn_bd_against_scikit_image(data: Path) -> None:
    """Degraded by ``finevox degrade``, restored in float, and measured as fastMRI does."""
    rows = run(data, protocol="csn-bd", scales=[3], variant={"plane": 20}).rows
    samples = np.asarray(read_nifti(data / "sub-b" / "anat" / "sub-b_T2w.nii.gz").dataobj)
    # 20 cut to a multiple of 3 is 18, from the middle of 27 x 30.
    truth = samples[4:22, 6:24]
    low = degrade(nib.Nifti1Image(truth, affine_of((1, 1, 2))), "bicubic", 3, axes=(0, 1))
    assert low.get_data_dtype() == np.int16
    restored = upscale(low, 3, network="spline", axes=(0, 1), dtype="float32")
    test = np.asarray(restored.dataobj, np.float64)
    truth = truth.astype(np.float64)
    row = rows[(rows.label == "spline") & (rows.subject == "sub-b") & (rows.contrast == "T2w")]
    peak = truth.max()
    assert row.psnr_db.item() == pytest.approx(
        peak_signal_noise_ratio(truth, test, data_range=peak), rel=1e-7
    )
    ssims = [
        structural_similarity(truth[..., s], test[..., s], data_range=peak)
        for s in range(truth.shape[2])
    ]
    assert row.ssim.item() == pytest.approx(np.mean(ssims), rel=1e-7)


def test_the_low_resolution_is_that_of_the_degrade_command(data: Path, capfd: Capture) -> None:
    run(data, protocol="csn-td", methods=["zerofill"], baseline="zerofill", examples=1)
    kept = data.parent / "out" / "examples" / "sub-a_T1w_kspace_x2"
    output = data.parent / "low.nii.gz"
    answer = command(
        capfd, "degrade", kept / "reference.nii.gz", output, "--kind", "kspace", "--axes", "0,1"
    )
    assert answer.code == 0
    own, low = (
        read_nifti(kept / "low.nii.gz"),
        read_nifti(output),
    )
    np.testing.assert_array_equal(np.asarray(own.dataobj), np.asarray(low.dataobj))
    np.testing.assert_allclose(own.affine, low.affine, atol=1e-6)


def test_rows_are_kept_and_only_what_is_missing_is_done(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="finevox")

    def done() -> list[str]:
        lines = [r.getMessage() for r in caplog.records if r.getMessage().endswith(": done")]
        caplog.clear()
        return lines

    first = run(data)
    assert len(done()) == 8
    again = run(data)
    assert done() == []
    pd.testing.assert_frame_equal(first.rows, again.rows, check_dtype=False)
    assert len(run(data, methods=["bicubic", "spline", "linear"]).rows) == 12
    assert [line.split(", ")[-1] for line in done()] == ["linear: done"] * 4
    # The table has what is asked for; the file keeps the rest.
    assert set(run(data, methods=["bicubic", "linear"]).rows.label) == {"bicubic", "linear"}
    assert done() == []
    assert len(pd.read_csv(data.parent / "out" / "volumes.csv")) == 12


def test_other_weights_under_the_same_label_are_measured_again(data: Path) -> None:
    file = weights(data.parent / "mine.safetensors", [])
    methods = ["bicubic", str(file)]
    before = run(data, methods=methods).rows
    weights(file, [], seed=1)
    after = run(data, methods=methods).rows
    assert len(before) == len(after) == 8
    mine = [rows[rows.label == "mine"].psnr_db.to_numpy() for rows in (before, after)]
    assert (mine[0] != mine[1]).all()


def test_figures_of_another_protocol_are_not_mixed(data: Path) -> None:
    run(data)
    with pytest.raises(ConfigError, match=r"measured otherwise \(peak\); choose another --output"):
        run(data, variant={"peak": "range"})


def test_training_subjects_are_refused(data: Path) -> None:
    seen = weights(data.parent / "seen.safetensors", ["a", "sub-z"])
    methods = ["bicubic", str(seen)]
    with pytest.raises(ConfigError) as raised:
        run(data, methods=methods)
    assert 'seen on sub-a; leave them out by --data.exclude "[sub-a]"' in str(raised.value)
    assert "--allow-training-subjects" in str(raised.value)
    assert not (data.parent / "out").exists()
    rows = run(data, methods=methods, data={"exclude": ["sub-a"]}).rows
    assert set(rows.subject) == {"sub-b"}
    assert not rows.seen_in_training.any()


def test_training_subjects_are_marked_where_they_are_allowed(data: Path) -> None:
    seen = weights(data.parent / "seen.safetensors", ["sub-a"])
    unknown = weights(data.parent / "unknown.safetensors", None)
    outcome = run(data, methods=["bicubic", str(seen), str(unknown)], allow_training_subjects=True)
    marked = outcome.rows[outcome.rows.seen_in_training]
    assert set(marked.label) == {"seen †"}
    assert set(marked.subject) == {"sub-a"}
    assert "seen †: trained on sub-a, which this evaluation has as well" in outcome.statement
    assert "Training subjects not known, overlap not excluded: unknown." in outcome.statement
    assert "seen †" in outcome.tables["md"].read_text()


def test_costs_of_a_network(data: Path) -> None:
    file = weights(data.parent / "mine.safetensors", [])
    rows = run(data, methods=["bicubic", str(file)]).rows
    network = build("espcn")
    parameters = sum(one.numel() for one in network.parameters())
    assert set(rows[rows.label == "mine"].parameters) == {parameters}
    assert set(rows[rows.label == "mine"].method) == {"espcn"}
    assert set(rows[rows.label == "bicubic"].parameters) == {0}
    assert (rows.seconds > 0).all()
    assert (rows.peak_memory_bytes > 10_000_000).all()


def test_one_file_of_weights_for_each_scale(data: Path) -> None:
    for scale in (2, 3):
        weights(data.parent / f"mine_x{scale}.safetensors", [], scale)
    mine = {"label": "mine", "weights": str(data.parent / "mine_x{scale}.safetensors")}
    rows = run(data, methods=["bicubic", mine], scales=[2, 3]).rows
    assert rows.groupby("scale").label.nunique().to_dict() == {2: 2, 3: 2}
    only = {**mine, "scales": [3]}
    rows = run(data, methods=["bicubic", only], scales=[2, 3]).rows
    assert rows.groupby("scale").label.nunique().to_dict() == {2: 1, 3: 2}


def test_what_cannot_be_had_is_left_out_and_said(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = run(data, methods=["bicubic", "zerofill", "rdn"]).rows
    assert set(rows.label) == {"bicubic"}
    assert "zerofill is left out: bicubic degradation leaves samples" in caplog.text
    assert "rdn is left out at x2: no weights ship for rdn" in caplog.text
    with pytest.raises(ConfigError, match="the baseline bicubic cannot be run"):
        run(data, Path("td"), protocol="csn-td", methods=["bicubic", "zerofill"])
    with pytest.raises(ConfigError, match="unknown network bicubik; did you mean bicubic"):
        run(data, Path("typo"), methods=["bicubic", "bicubik"])


def test_one_bad_scan_does_not_stop_the_others(data: Path, capfd: Capture) -> None:
    bad = data / "sub-b" / "anat" / "sub-b_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:200])
    config = data.parent / "evaluation.yaml"
    config.write_text(yaml.safe_dump(RECIPE))
    answer = command(
        capfd, "evaluate", config, "--data", data, "--output", data.parent / "out", "--json"
    )
    assert answer.code == 1
    assert "sub-b_T1w.nii.gz at x2" in answer.err
    assert "Failed and not in the table: 1." in answer.document["statement"]
    of = {(row["contrast"], row["label"]): row["n"] for row in answer.document["rows"]}
    assert of["T1w", "bicubic"] == 1
    assert of["T2w", "bicubic"] == 2


def test_subjects_of_a_part_of_a_split(data: Path) -> None:
    split = data.parent / "split.tsv"
    split.write_text(
        "subject\tpart\tcontrast\tfile\nsub-a\ttraining\tT1w\tx\nsub-b\ttest\tT1w\ty\n"
    )
    rows = run(data, data={"split": str(split), "contrasts": ["T2w"]}).rows
    assert set(zip(rows.subject, rows.contrast, strict=True)) == {("sub-b", "T2w")}
    with pytest.raises(ConfigError, match="nobody in its part validation"):
        run(data, data={"split": str(split), "part": "validation"})
    with pytest.raises(ConfigError, match="no scan of subject sub-c; did you mean"):
        run(data, data={"exclude": ["sub-c"]})
    with pytest.raises(ConfigError, match="leaves no subject"):
        run(data, data={"exclude": list(SUBJECTS)})


def test_the_command_prints_the_table_and_takes_any_setting(data: Path, capfd: Capture) -> None:
    output = data.parent / "out"
    words = ("--methods", "[bicubic, linear]", "--scales=[2]", "--variant.border", "scale")
    answer = command(
        capfd, "evaluate", "evaluate_smoke", "--data", data, "--output", output, "--data.layout",
        "bids", "--examples", "1", "--variant.slices", "8", *words,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "| linear" in answer.out
    assert "as many samples as the scale are left out" in answer.out
    made = {path.name for path in output.iterdir()}
    assert {"recipe.yaml", "volumes.csv", "table.md", "table.csv", "table.json", "table.tex"} < made
    assert "detail_sub-a_T1w_bicubic_x2.png" in made
    assert json.loads((output / "table.json").read_text())["baseline"] == "bicubic"
    recipe = yaml.safe_load((output / "recipe.yaml").read_text())
    assert recipe["variant"] == {"slices": 8, "border": "scale"}
    wrong = command(capfd, "evaluate", "evaluate_smoke", "--output", output, "--varint.slices", "3")
    assert (wrong.code, wrong.out) == (2, "")
    assert "unknown key varint; did you mean variant?" in wrong.err


def test_phantoms_by_interpolation(tmp_path: Path) -> None:
    """The recipe that ships needs no data at all."""
    changes = {"data.phantoms": 1, "data.contrasts": ["T1w"], "variant.slices": 11}
    outcome = run_evaluation("evaluate_smoke", None, tmp_path / "out", changes)
    gain = outcome.rows.set_index("label").psnr_db
    assert gain["spline"] > gain["bicubic"]
    assert set(outcome.rows.subject) == {"phantom-001"}
    assert (tmp_path / "out" / "examples").is_dir()


def test_all_three_axes(data: Path) -> None:
    rows = run(data, variant={"axes": "all"}, data={"subjects": ["sub-a"]}).rows
    in_plane = run(data, Path("plane"), data={"subjects": ["sub-a"]}).rows
    assert (rows.psnr_db.to_numpy() < in_plane.psnr_db.to_numpy()).all()


def test_evaluation_without_scans_says_so(data: Path) -> None:
    with pytest.raises(ConfigError, match="give --data FOLDER"):
        run_evaluation("evaluate", None, data.parent / "out")
