"""Evaluations from recipe to table: what is measured, kept, refused and left out."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
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
from finevox.networks import save, shipped
from finevox.workflows.evaluation.evaluate import Evaluation, run_evaluation

Capture = pytest.CaptureFixture[str]
SHAPE = (26, 30, 12)
RECIPE: dict[str, Any] = {
    "methods": ["bicubic", "spline"],
    "scales": [2],
    "protocol": "volume",
    "figures": False,
}
SUBJECTS = ("sub-a", "sub-b")
# The scan of a test that asks for no more.
ONE = {"subjects": ["sub-a"], "contrasts": ["T1w"]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A BIDS folder: two subjects, two contrasts, slices across the last axis."""
    return bids(tmp_path / "data", SUBJECTS)


def bids(place: Path, subjects: Iterable[str], session: str = "") -> Path:
    for number, subject in enumerate(subjects):
        folder = place / subject / session / "anat"
        folder.mkdir(parents=True)
        for contrast, power in (("T1w", 1.0), ("T2w", 2.0)):
            head = head_phantom((SHAPE[0] + number, *SHAPE[1:])) / 1000
            samples = np.rint(1000 * (1 - head**power) * (head > 0)).astype(np.int16)
            name = "_".join(filter(None, (subject, session, contrast)))
            write_nifti(folder / f"{name}.nii.gz", samples, affine_of((1, 1, 2)))
    return place


def weights(
    path: Path,
    subjects: list[str] | None,
    scale: int = 2,
    seed: int = 0,
    name: str = "espcn",
    **facts: Any,
) -> Path:
    """A tiny untrained network whose record names the subjects it was trained on."""
    record = {
        "convention": "fov",
        "degradation": "bicubic",
        "data": "computed heads",
        "licence": "CC0-1.0",
    }
    known = {} if subjects is None else {"subjects": subjects}
    save(build(name, scale=scale, seed=seed), path, {**record, **known, **facts})
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


def test_rows_are_kept_and_only_what_is_missing_is_done(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="finevox")

    def done() -> list[str]:
        lines = [r.getMessage() for r in caplog.records if r.getMessage().endswith(": done")]
        caplog.clear()
        return lines

    one = {"contrasts": ["T1w"]}
    first = run(data, data=one)
    assert len(done()) == 4
    again = run(data, data=one)
    assert done() == []
    pd.testing.assert_frame_equal(first.rows, again.rows, check_dtype=False)
    assert len(run(data, data=one, methods=["bicubic", "spline", "linear"]).rows) == 6
    assert [line.split(", ")[-1] for line in done()] == ["linear: done"] * 2
    # The table has what is asked for; the file keeps the rest.
    rows = run(data, data=one, methods=["bicubic", "linear"]).rows
    assert set(rows.label) == {"bicubic", "linear"}
    assert done() == []
    assert len(pd.read_csv(data.parent / "out" / "volumes.csv")) == 6


def test_other_weights_under_the_same_label_are_measured_again(data: Path) -> None:
    file = weights(data.parent / "mine.safetensors", [])
    methods, one = ["bicubic", str(file)], ONE
    before = run(data, methods=methods, data=one).rows
    weights(file, [], seed=1)
    after = run(data, methods=methods, data=one).rows
    assert len(before) == len(after) == 2
    mine = [rows[rows.label == "mine"].psnr_db.to_numpy() for rows in (before, after)]
    assert (mine[0] != mine[1]).all()


def test_figures_of_another_protocol_are_not_mixed(data: Path) -> None:
    run(data, data=ONE)
    with pytest.raises(ConfigError, match=r"measured otherwise \(peak\); choose another --output"):
        run(data, data=ONE, variant={"peak": "range"})


def test_scans_of_another_folder_are_not_taken_for_those_that_were_measured(data: Path) -> None:
    """They have the same places in their folders."""
    run(data, data=ONE)
    config = data.parent / "evaluation.yaml"
    with pytest.raises(ConfigError, match=r"measured otherwise \(data.folder\)"):
        run_evaluation(config, bids(data.parent / "others", SUBJECTS), data.parent / "out")


def test_training_subjects_are_refused(data: Path) -> None:
    seen = weights(data.parent / "seen.safetensors", ["a", "sub-z"])
    methods = ["bicubic", str(seen)]
    with pytest.raises(ConfigError) as raised:
        run(data, methods=methods)
    assert 'seen on sub-a; leave them out by --data.exclude "[sub-a]"' in str(raised.value)
    assert "--allow-training-subjects" in str(raised.value)
    assert not (data.parent / "out").exists()
    others = {"exclude": ["sub-a"], "contrasts": ["T1w"]}
    rows = run(data, methods=methods, data=others).rows
    assert set(rows.subject) == {"sub-b"}
    assert not rows.seen_in_training.any()


def test_training_subjects_are_marked_where_they_are_allowed(data: Path) -> None:
    seen = weights(data.parent / "seen.safetensors", ["sub-a"])
    unknown = weights(data.parent / "unknown.safetensors", None)
    outcome = run(
        data,
        methods=["bicubic", str(seen), str(unknown)],
        data={"contrasts": ["T1w"]},
        allow_training_subjects=True,
    )
    marked = outcome.rows[outcome.rows.seen_in_training]
    assert set(marked.label) == {"seen †"}
    assert set(marked.subject) == {"sub-a"}
    assert "seen †: trained on sub-a, which this evaluation has as well" in outcome.statement
    assert "Training subjects not known, overlap not excluded: unknown." in outcome.statement
    assert "seen †" in outcome.tables["md"].read_text(encoding="utf-8")
    table = pd.read_csv(data.parent / "out" / "volumes.csv")
    marked = table[table.seen_in_training]
    assert [*zip(marked.label, marked.subject, strict=True)] == [("seen", "sub-a")]


def test_costs_of_a_network(data: Path) -> None:
    file = weights(data.parent / "mine.safetensors", [])
    rows = run(data, methods=["bicubic", str(file)], data=ONE).rows
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
    rows = run(data, methods=["bicubic", mine], scales=[2, 3], data=ONE).rows
    assert rows.groupby("scale").label.nunique().to_dict() == {2: 2, 3: 2}
    only = {**mine, "scales": [3]}
    rows = run(data, methods=["bicubic", only], scales=[2, 3], data=ONE).rows
    assert rows.groupby("scale").label.nunique().to_dict() == {2: 1, 3: 2}


def test_auto_is_the_shipped_weights_that_upscale_would_choose(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ships"
    folder.mkdir()
    monkeypatch.setattr(importlib.import_module("finevox.networks.shipped"), "FOLDER", folder)
    shipped.cache_clear()
    fast = weights(folder / "fast.safetensors", [], validation_gain_db=1.0)
    best = weights(folder / "best.safetensors", [], name="vdsr", validation_gain_db=2.5)
    methods = [
        "bicubic",
        "auto",
        {"label": "slow", "network": "auto", "quality": "best"},
        str(fast),
        str(best),
    ]
    try:
        rows = run(data, methods=methods, data=ONE).rows.set_index("label")
    finally:
        shipped.cache_clear()
    assert rows.loc["auto", "psnr_db"] == rows.loc["fast", "psnr_db"]
    assert rows.loc["slow", "psnr_db"] == rows.loc["best", "psnr_db"]
    assert rows.loc[["auto", "slow"], "method"].tolist() == ["espcn", "vdsr"]


def test_what_cannot_be_had_is_left_out_and_said(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = run(data, methods=["bicubic", "zerofill", "rdn"], data=ONE).rows
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
    rows = run(data, data={"split": str(split), "contrasts": ["T2w"]}, methods=["bicubic"]).rows
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
        "bids", "--data.contrasts", "[T1w]", "--data.subjects", "[sub-a]", "--variant.slices",
        "8", *words,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "| linear" in answer.out
    assert "as many samples as the scale are left out" in answer.out
    made = {path.name for path in output.iterdir()}
    assert {"recipe.yaml", "volumes.csv", "table.md", "table.csv", "table.json", "table.tex"} < made
    assert "detail_sub-a_T1w_bicubic_x2.png" in made
    assert json.loads((output / "table.json").read_text(encoding="utf-8"))["baseline"] == "bicubic"
    recipe = yaml.safe_load((output / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["variant"] == {"slices": 8, "border": "scale"}
    wrong = command(capfd, "evaluate", "evaluate_smoke", "--output", output, "--varint.slices", "3")
    assert (wrong.code, wrong.out) == (2, "")
    assert "unknown key varint; did you mean variant?" in wrong.err


def test_volumes_and_pictures_of_two_sessions_are_kept(tmp_path: Path, capfd: Capture) -> None:
    """The low resolution is that of the command; captions do without what was not measured."""
    data = tmp_path / "data"
    for session in ("ses-1", "ses-2"):
        bids(data, SUBJECTS[:1], session)
    zerofill = {"protocol": "csn-td", "methods": ["zerofill"], "baseline": "zerofill"}
    run(data, **zerofill, data=ONE, examples=2, figures=True, metrics=["mae"])
    out = tmp_path / "out"
    names = {f"sub-a_ses-{number}_T1w_kspace_x2" for number in (1, 2)}
    assert {path.name for path in (out / "examples").iterdir()} == names
    assert all((out / f"detail_{name}.png").exists() for name in names)
    kept, output = out / "examples" / "sub-a_ses-1_T1w_kspace_x2", tmp_path / "low.nii.gz"
    answer = command(
        capfd, "degrade", kept / "reference.nii.gz", output, "--kind", "kspace", "--axes", "0,1"
    )
    assert answer.code == 0
    own, low = read_nifti(kept / "low.nii.gz"), read_nifti(output)
    np.testing.assert_array_equal(np.asarray(own.dataobj), np.asarray(low.dataobj))
    np.testing.assert_allclose(own.affine, low.affine, atol=1e-6)


def test_phantoms_by_interpolation(tmp_path: Path) -> None:
    """The recipe that ships needs no data at all."""
    changes = {
        "data.phantoms": 1,
        "data.contrasts": ["T1w"],
        "variant.slices": 11,
        "methods": ["bicubic", "spline"],
        "figures": False,
    }
    outcome = run_evaluation("evaluate_smoke", None, tmp_path / "out", changes)
    gain = outcome.rows.set_index("label").psnr_db
    assert gain["spline"] > gain["bicubic"]
    assert set(outcome.rows.subject) == {"phantom-001"}
    assert not (tmp_path / "out" / "examples").exists()


def test_all_three_axes(data: Path) -> None:
    rows = run(data, variant={"axes": "all"}, data=ONE).rows
    in_plane = run(data, Path("plane"), data=ONE).rows
    assert (rows.psnr_db.to_numpy() < in_plane.psnr_db.to_numpy()).all()


def test_evaluation_without_scans_says_so(data: Path) -> None:
    with pytest.raises(ConfigError, match="give --data FOLDER"):
        run_evaluation("evaluate", None, data.parent / "out")
