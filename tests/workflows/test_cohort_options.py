"""The command lines of cohorts: what can be typed, what comes of it, what a mistake is answered."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import write_nifti
from phantoms import AFFINES

from finevox.errors import InputError
from finevox.pipeline.cohort.record import Record, State, now
from finevox.workflows.cli import build_parser, main
from finevox.workflows.cohort import bids_app
from finevox.workflows.cohort.options import duration_s

Capture = pytest.CaptureFixture[str]

# What a single scan's command has and a cohort's has too.
UPSCALE = (
    "scale", "network", "quality", "weights", "degradation", "axes", "self_ensemble", "dtype",
    "random_weights",
)  # fmt: skip
DEGRADE = ("kind", "noise_snr_db", "seed")


def parse(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(words)


def parse_bids(*words: str) -> argparse.Namespace:
    options: argparse.Namespace = bids_app.build_parser().parse_args(words)
    return options


def mistake(capture: Capture, *words: str, bids: bool = False) -> str:
    """What is said of a command line that cannot be used."""
    with pytest.raises(SystemExit) as caught:
        (parse_bids if bids else parse)(*words)
    assert caught.value.code == 2
    answer = capture.readouterr()
    assert answer.out == ""
    return answer.err.splitlines()[-1]


def test_the_simplest_line() -> None:
    options = parse("cohort", "in", "out")
    assert (options.inputs, options.output) == (["in"], Path("out"))
    assert (options.job, options.layout) == ("upscale", "auto")
    assert not options.force
    assert not options.dry_run


def test_a_pattern_that_the_shell_has_opened() -> None:
    options = parse("cohort", "a.nii.gz", "b.nii.gz", "c.nii.gz", "out")
    assert (options.inputs, options.output) == (["a.nii.gz", "b.nii.gz", "c.nii.gz"], Path("out"))


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "out", "--suffix", "T1w", "T2w", "--scale", "3"],
        ["a", "b", "--scale", "3", "out", "--suffix", "T1w", "T2w"],
        ["a", "--suffix", "T1w", "T2w", "--scale", "3", "b", "out"],
        ["--suffix", "T1w", "T2w", "--scale", "3", "a", "b", "out"],
        ["--scale", "3", "--suffix", "T1w", "T2w", "--", "a", "b", "out"],
        ["a", "--suffix", "T1w", "--scale", "3", "b", "--suffix", "T2w", "--", "out"],
    ],
)
def test_paths_may_stand_anywhere_between_options(words: list[str]) -> None:
    options = parse("cohort", *words)
    assert (options.inputs, options.output) == (["a", "b"], Path("out"))
    assert (options.suffix, options.scale) == (["T1w", "T2w"], "3")


@pytest.mark.parametrize("words", [["in"], ["--suffix", "T1w", "T2w", "in", "out"], []])
def test_paths_that_are_missing_or_were_taken_by_an_option(
    words: list[str], capsys: Capture
) -> None:
    said = mistake(capsys, "cohort", *words)
    assert "OUTPUT" in said
    assert "--suffix" in said
    assert "up to the next option" in said


def test_a_path_is_no_label(capsys: Capture) -> None:
    said = mistake(capsys, "cohort", "in", "--participant-label", "01", "data/out")
    assert "'data/out'" in said
    assert "no label" in said
    assert "{" not in said


def test_an_option_that_is_none_is_not_taken_for_a_path(capsys: Capture) -> None:
    assert "--sufix" in mistake(capsys, "cohort", "in", "out", "--sufix", "T1w")


def test_labels_have_no_prefix_and_options_repeat() -> None:
    options = parse(
        "cohort", "in", "out", "--participant-label", "sub-01", "02", "--session-label", "ses-a",
        "--participant_label", "sub-03", "--suffix", "T1w", "--suffix", "FLAIR",
    )  # fmt: skip
    assert options.participant_label == ["01", "02", "03"]
    assert options.session_label == ["a"]
    assert options.suffix == ["T1w", "FLAIR"]
    # The next line starts from nothing.
    assert parse("cohort", "in", "out").suffix == []


def test_settings_are_those_of_a_single_scan() -> None:
    cohort = vars(parse("cohort", "in", "out"))
    for command, names in (("upscale", UPSCALE), ("degrade", (*DEGRADE, "scale", "axes", "dtype"))):
        single = vars(parse(command, "in", "out"))
        assert {name: single[name] for name in names} == {name: cohort[name] for name in names}


def test_settings_for_one_contrast() -> None:
    options = parse(
        "cohort", "in", "out", "--network-for", "PD=spline", "--network-for", "T1w=fmen",
        "--weights-for", "T2w=a=b.safetensors",
    )  # fmt: skip
    assert options.network_for == {"PD": "spline", "T1w": "fmen"}
    assert options.weights_for == {"T2w": Path("a=b.safetensors")}
    assert parse("cohort", "in", "out").network_for == {}


@pytest.mark.parametrize("pair", ["spline", "=spline", "PD="])
def test_half_a_pair(pair: str, capsys: Capture) -> None:
    said = mistake(capsys, "cohort", "in", "out", "--network-for", pair)
    assert repr(pair) in said
    assert "T2w=" in said


def test_a_contrast_that_is_given_twice(capsys: Capture) -> None:
    twice = ("--network-for", "PD=spline", "--network-for", "PD=fmen")
    assert "PD is given twice" in mistake(capsys, "cohort", "in", "out", *twice)


@pytest.mark.parametrize(
    "words",
    [
        ["--workers", "0"],
        ["--workers", "two"],
        ["--threads-per-worker", "-1"],
        ["--scheduler", "tcp://127.0.0.1:8786", "--cluster", "slurm"],
        ["--force", "--retry-failed"],
        ["--device", "tpu"],
        ["--job", "sharpen"],
    ],
)
def test_what_cannot_be(words: list[str], capsys: Capture) -> None:
    assert words[-2] in mistake(capsys, "cohort", "in", "out", *words)


def test_running_options_keep_their_names() -> None:
    options = parse(
        "cohort", "in", "out", "--workers", "3", "--threads-per-worker", "2", "--memory-limit",
        "4G", "--timeout", "30m", "--cluster", "slurm", "--cluster-config", "slurm.yaml",
        "--tls-ca", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--plain-tcp",
        "--log-dir", "logs", "--no-thumbnails",
    )  # fmt: skip
    assert (options.workers, options.threads_per_worker) == (3, 2)
    assert (options.memory_limit, options.timeout) == ("4G", "30m")
    assert (options.cluster, options.cluster_config) == ("slurm", Path("slurm.yaml"))
    assert options.tls_ca == Path("ca.pem")
    assert options.plain_tcp
    assert options.no_thumbnails
    assert options.log_dir == Path("logs")


def test_status_and_report() -> None:
    assert parse("cohort-status", "out", "--json").json
    assert parse("cohort-status", "out").output == Path("out")
    report = parse("cohort-report", "out", "--output", "page.html")
    assert (report.output, report.report) == (Path("out"), Path("page.html"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("1.5h", 5400), ("90", 90), ("2 hours", 7200), ("1d", 86400)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "0h", "-5m", "nan", "inf", "2h30m", "1e400"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError) as caught:
        duration_s(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_bids_app_has_every_option_of_the_cohort() -> None:
    # Its participant level is the cohort's command, which reads them all.
    cohort = vars(parse("cohort", "in", "out"))
    bids = vars(parse_bids("in", "out", "participant"))
    for name in ("inputs", "output", "layout", "command", "version"):
        del cohort[name]
    assert cohort.items() <= bids.items()


def test_the_names_that_bids_apps_have() -> None:
    options = parse_bids(
        "in", "out", "participant", "--participant_label", "sub-01", "02", "--session-label", "1",
        "--bids-filter-file", "filter.json", "--nprocs", "4", "--omp-nthreads", "2", "--mem", "8G",
        "--skip-bids-validation",
    )  # fmt: skip
    assert (options.bids_dir, options.output_dir) == ("in", Path("out"))
    assert (options.participant_label, options.session_label) == (["01", "02"], ["1"])
    assert options.bids_filter_file == Path("filter.json")
    assert (options.workers, options.threads_per_worker) == (4, 2)
    assert options.memory_limit == "8G"


def test_memory_without_a_unit_is_in_megabytes_as_in_other_bids_apps() -> None:
    assert parse_bids("in", "out", "participant", "--mem", "8000").memory_limit == "8000MB"


@pytest.mark.parametrize(
    "words", [["in", "out"], ["--participant-label", "01", "in", "out", "participant"]]
)
def test_a_bids_line_without_its_three_words(words: list[str], capsys: Capture) -> None:
    said = mistake(capsys, *words, bids=True)
    assert "analysis_level" in said
    assert "up to the next option" in said


def test_a_level_that_is_none(capsys: Capture) -> None:
    assert "'session'" in mistake(capsys, "in", "out", "session", bids=True)


def test_the_group_level_of_nothing_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    assert bids_app.main([str(tmp_path), str(tmp_path / "out"), "group"]) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert "no record of a cohort" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("failed", 1)])
def test_the_group_level_collects_what_was_recorded(
    state: State, code: int, tmp_path: Path, capsys: Capture
) -> None:
    record = Record(
        case="sub-01/anat/sub-01_T1w",
        state=state,
        run="1",
        attempt="1",
        time=now(),
        source=str(tmp_path / "in/sub-01/anat/sub-01_T1w.nii.gz"),
    )
    manifest = tmp_path / "out/.finevox/manifest.jsonl"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps(record.to_json()) + "\n", encoding="utf-8")
    assert bids_app.main([str(tmp_path / "in"), str(tmp_path / "out"), "group", "--json"]) == code
    written = [Path(path) for path in json.loads(capsys.readouterr().out)["written"]]
    assert {path.suffix for path in written} == {".tsv", ".json", ".html"}
    assert all(path.parent == tmp_path / "out" for path in written)
    (table,) = (path for path in written if path.suffix == ".tsv")
    assert state in table.read_text(encoding="utf-8")


def one_scan(folder: Path, name: str) -> None:
    """A folder with one scan."""
    folder.mkdir()
    write_nifti(folder / f"{name}.nii.gz", np.ones((6, 6, 4)), AFFINES["identity"])


def refused(capture: Capture, folder: Path, *options: str) -> str:
    """What is said of a request that cannot be met; nothing may be written for it."""
    one_scan(folder / "in", "scan")
    output = folder / "out"
    assert main(["cohort", str(folder / "in"), str(output), "--network", "linear", *options]) == 2
    answer = capture.readouterr()
    assert answer.out == ""
    assert not output.exists()
    (line,) = answer.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--memory-limit", "100M"], "--memory-limit 100M: a worker needs 500M at least"),
        (["--memory-limit", "lots"], "memory 'lots'"),
        (["--tls-ca", "ca.pem"], "give --tls-cert and --tls-key too"),
        (["--job", "roundtrip", "--kind", "kspace"], "choose one of zerofill, ibp, pocs"),
        (["--kind", "kspace", "--seed", "1"], "--kind, --seed: nothing that --job upscale looks"),
        (["--job", "degrade"], "--network: nothing that --job degrade looks at"),
        (["--job", "roundtrip", "--network", "zerofill"], "network 'zerofill'"),
    ],
)
def test_what_no_run_can_have_is_refused_before_anything_is_written(
    options: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    assert said in refused(capsys, tmp_path, *options)


def test_a_list_with_a_word_for_a_number(tmp_path: Path, capsys: Capture) -> None:
    rows = tmp_path / "list.csv"
    rows.write_text("path,noise_snr_db\nscan.nii.gz,loud\n", encoding="utf-8")
    assert main(["cohort", str(rows), str(tmp_path / "out"), "--job", "degrade"]) == 2
    assert "noise_snr_db 'loud': give a number" in capsys.readouterr().err


def test_a_plan_has_every_letter_of_a_name(tmp_path: Path, capsys: Capture) -> None:
    one_scan(tmp_path / "in", "[bold]1[[x]")
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--network", "linear", "--dry-run"]
    assert main(["cohort", *words]) == 0
    shown = capsys.readouterr().out
    assert "[bold]1[[x] " in shown
    assert "[bold]1[[x].nii.gz" in shown
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]


HEAVY = "torch monai dask distributed rich matplotlib"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("cli", ["--help"]),
        ("cli", ["cohort", "--help"]),
        ("cli", ["cohort-report", "--help"]),
        ("cohort.bids_app", ["--help"]),
        ("cohort.bids_app", ["--version"]),
    ],
)
def test_help_is_light(module: str, words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        f"from finevox.workflows.{module} import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as leave:\n"
        f"    heavy = set({HEAVY!r}.split()) & sys.modules.keys()\n"
        "    sys.exit(f'loads {heavy}' if heavy else leave.code)\n"
    )
    result: Any = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "finevox" in result.stdout
