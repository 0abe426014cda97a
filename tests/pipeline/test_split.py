"""Subjects go to one part each, whatever is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finevox.errors import ConfigError, FinevoxError
from finevox.pipeline.scans import Scan
from finevox.pipeline.split import PARTS, Split, make_split, read_split, write_split
from finevox.pipeline.train_settings import DataSettings

NAMES = st.text("abc-_. \u00e9", min_size=1, max_size=4)


def scans_of(*subjects: str) -> list[Scan]:
    return [Scan(Path(f"{s}_{c}.nii"), s, c) for s in subjects for c in ("T1w", "T2w")]


COHORT = scans_of(*(f"sub-{n:02d}" for n in range(20)))


@given(
    subjects=st.lists(NAMES, min_size=1, max_size=12, unique=True),
    fractions=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_no_subject_and_no_scan_is_in_two_parts(
    subjects: list[str], fractions: tuple[float, float], seed: int, data: Any
) -> None:
    """Names may overlap as they like: either the split is refused or the parts are disjoint."""
    named: dict[str, Any] = {
        part: tuple(data.draw(st.lists(st.sampled_from(subjects)), part)) for part in PARTS
    }
    scans = scans_of(*subjects)
    try:
        split = make_split(scans, DataSettings(fractions=fractions, **named), seed)
    except FinevoxError:
        return
    members = {part: set(getattr(split, part)) for part in PARTS}
    for one, other in (PARTS[:2], PARTS[1:], PARTS[::2]):
        assert not members[one] & members[other]
        assert not set(split.scans(one, scans)) & set(split.scans(other, scans))
    assert members["training"]
    for part in PARTS:
        assert {scan.subject for scan in split.scans(part, scans)} == members[part]
        assert set(named[part]) <= members[part]


def test_a_split_cannot_be_built_with_a_subject_in_two_parts() -> None:
    with pytest.raises(ConfigError, match="both in training and test: b"):
        Split(("a", "b"), ("c",), ("b",))
    with pytest.raises(ConfigError, match="no subject is left for training"):
        Split((), ("c",))


def test_fractions_count_subjects() -> None:
    split = make_split(COHORT, DataSettings(fractions=(0.2, 0.1)), 0)
    assert [len(getattr(split, part)) for part in PARTS] == [14, 4, 2]
    every = [*split.training, *split.validation, *split.test]
    assert sorted(every) == sorted({scan.subject for scan in COHORT})


def test_the_draw_follows_from_seed_and_names_alone() -> None:
    data = DataSettings()
    split = make_split(COHORT, data, 3)
    assert make_split(COHORT[::-1], data, 3) == split
    assert make_split(COHORT, data, 4) != split
    # One subject more moves nobody from training to validation and none the other way round.
    larger = make_split([*COHORT, *scans_of("zz")], data, 3)
    assert not set(larger.validation) & set(split.training)
    assert not set(larger.training) & set(split.validation)


@pytest.mark.parametrize(("count", "parts"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1))])
def test_small_cohorts_keep_someone_for_training(count: int, parts: tuple[int, ...]) -> None:
    split = make_split(scans_of(*"abc"[:count]), DataSettings(), 0)
    assert tuple(len(getattr(split, part)) for part in PARTS) == parts


def test_named_subjects_win() -> None:
    data = DataSettings(training=("sub-03",), validation=("sub-05",))
    assert make_split(COHORT, data, 0) == Split(("sub-03",), ("sub-05",))
    data = DataSettings(validation=("sub-05",), fractions=(0.5, 0.1))
    split = make_split(COHORT, data, 0)
    assert split.validation == ("sub-05",)
    assert len(split.test) == 2
    assert len(split.training) == 17


WRONG = {
    "unknown": (DataSettings(training=("sub_03",)), "did you mean sub-03"),
    "unlike any": (DataSettings(test=("control",)), "there is sub-00, sub-01"),
    "twice": (DataSettings(training=("sub-01",), test=("sub-01",)), "both in training and test"),
    "too much": (DataSettings(fractions=(0.5, 0.5)), "fractions"),
    "negative": (DataSettings(fractions=(-0.1, 0.1)), "fractions"),
    "nobody": (
        DataSettings(validation=tuple(sorted({scan.subject for scan in COHORT}))),
        "left for training",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_splits_are_refused(case: str) -> None:
    data, mentioned = WRONG[case]
    with pytest.raises(ConfigError, match=mentioned):
        make_split(COHORT, data, 0)


def test_a_split_survives_its_file(tmp_path: Path) -> None:
    split = make_split(COHORT, DataSettings(), 0)
    write_split(split, COHORT, tmp_path / "split.tsv")
    assert read_split(tmp_path / "split.tsv") == split
    lines = (tmp_path / "split.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["subject", "part", "contrast", "file"]
    assert len(lines) == 1 + len(COHORT)
    first = split.training[0]
    assert f"{first}\ttraining\tT1w\t{first}_T1w.nii" in lines


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("subject\tpart\na\ttraining\na\ttest\n", "both in training and test: a"),
        ("subject\tpart\na\ttrain\n", "unknown part train"),
        ("subject\na\n", "no split"),
        ("subject\tpart\na\ttest\n", "training"),
        ("", "no split"),
    ],
)
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, text: str, mentioned: str) -> None:
    path = tmp_path / "split.tsv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=mentioned):
        read_split(path)
    with pytest.raises(ConfigError, match="no split"):
        read_split(tmp_path / "none.tsv")
