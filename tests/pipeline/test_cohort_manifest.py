"""A manifest gives back every record that was put in, whatever else has got into the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.manifest import Manifest
from finevox.pipeline.cohort.record import Record, Run, now

RECORD = Record(case="a", state="done", run="r", attempt="1", time=now(), source="/a.nii")
RUN = Run(
    run="r", command="finevox cohort", job="upscale", layout="bids", inputs=["in"], output="out",
    settings={"scale": 2}, cases=["a", "b"], started=now(), host="here", pid=1,
)  # fmt: skip

# Of file names also those that are no Unicode.
text = st.text(max_size=8) | st.binary(max_size=8).map(os.fsdecode)
number = st.floats(allow_nan=False, allow_infinity=False)
records = st.builds(
    Record,
    case=text,
    state=st.sampled_from(["done", "failed", "skipped"]),
    reason=st.none() | text,
    run=text,
    attempt=text,
    time=st.just(now()),
    site=st.none() | text,
    source=text,
    source_sha256=st.none() | text | st.dictionaries(text, text, max_size=2),
    outputs=st.dictionaries(text, text, max_size=3),
    seconds=st.none() | number,
    peak_memory_bytes=st.none() | st.integers(0, 2**60),
    warnings=st.lists(text, max_size=2),
    metrics=st.dictionaries(text, st.none() | number, max_size=3),
    grid=st.just({"source_shape": [3, 4, 5], "convention": "fov"}),
)


def made(folder: Path, *batches: list[Record], garbage: bytes | None = None) -> Manifest:
    manifest = Manifest(folder / "manifest.jsonl")
    manifest.path.unlink(missing_ok=True)
    if garbage is not None:
        manifest.path.write_bytes(garbage)
    for batch in batches:
        manifest.append(*batch)
    return manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("manifest")


@given(batches=st.lists(st.lists(records, max_size=3), max_size=3))
def test_what_is_added_is_read(batches: list[list[Record]], folder: Path) -> None:
    manifest = made(folder, *batches)
    assert list(manifest.records()) == [record for batch in batches for record in batch]
    assert manifest.damaged == 0


@given(before=st.lists(records, min_size=1, max_size=3), after=records, data=st.data())
def test_a_file_that_is_cut_anywhere_goes_on(
    before: list[Record], after: Record, data: st.DataObject, folder: Path
) -> None:
    manifest = made(folder, before)
    content = manifest.path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    manifest.path.write_bytes(content[:cut])
    ends = [n for n, byte in enumerate(content) if byte == ord("\n")]
    # A line that has lost no more than its end still says all.
    kept = sum(end <= cut for end in ends)
    manifest.append(after)
    assert list(manifest.records()) == [*before[:kept], after]
    whole = cut in {0, *ends, *(end + 1 for end in ends)}
    assert manifest.damaged == (0 if whole else 1)
    assert list(manifest.records()) == [*before[:kept], after]


GARBAGE = (
    b"\0\0\0\0",
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"done"',
    b"{}",
    b'{"case": "a"}',
    b"[" * 100_000,
    b'{"case": 1, "state": "done", "run": "", "attempt": "", "time": "", "source": ""}',
    b'{"case": "a", "state": "lost", "run": "", "attempt": "", "time": "", "source": ""}',
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda line: line[:12].decode("latin-1"))
def test_garbage_is_counted_and_left_out(garbage: bytes, tmp_path: Path) -> None:
    manifest = made(tmp_path, [RECORD], garbage=garbage)
    assert list(manifest.records()) == [RECORD]
    assert manifest.damaged == 1
    with manifest.path.open("ab") as file:
        file.write(garbage)
    manifest.append(RECORD, RECORD)
    assert list(manifest.records()) == [RECORD] * 3
    assert manifest.damaged == 2


@settings(max_examples=50)
@given(garbage=st.binary(max_size=60))
def test_no_garbage_hides_a_record(garbage: bytes, folder: Path) -> None:
    manifest = made(folder, [RECORD], garbage=garbage)
    assert list(manifest.records()) == [RECORD]


def test_blank_lines_are_no_damage(tmp_path: Path) -> None:
    manifest = made(tmp_path, [RECORD], garbage=b"\n \n")
    assert list(manifest.records()) == [RECORD]
    assert manifest.damaged == 0


def test_no_file_is_no_records(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "none")
    assert list(manifest.records()) == []
    assert manifest.states() == {}
    assert manifest.size() == 0


def test_a_file_that_cannot_be_read_or_added_to(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    with pytest.raises(CohortError, match=r"cannot be read \(Is a directory"):
        list(manifest.records())
    with pytest.raises(CohortError, match=r"nothing can be recorded \(Is a directory.*start"):
        manifest.append(RECORD)


def test_the_state_of_a_case_is_its_last_record_that_is_not_skipped(tmp_path: Path) -> None:
    first = replace(RECORD, case="b", state="failed", reason="no MRI")
    again = replace(RECORD, case="b", attempt="2")
    skipped = replace(RECORD, case="c", state="skipped")
    last = replace(RECORD, state="failed", attempt="3")
    manifest = made(
        tmp_path, [RECORD, first, again, replace(again, state="skipped"), skipped, last]
    )
    assert manifest.states() == {"a": last, "b": again}


@pytest.mark.parametrize(("kind", "sample"), [(Record, RECORD), (Run, RUN)])
def test_other_versions_are_understood(kind: Any, sample: Any) -> None:
    document = sample.to_json()
    assert kind.from_json({**document, "mood": ["new"]}) == sample
    needed = {key: value for key, value in document.items() if value not in (None, [], {})}
    assert kind.from_json(json.loads(json.dumps(needed))) == sample


@pytest.mark.parametrize("missing", ["case", "state", "run", "attempt", "time", "source"])
def test_a_record_says_whose_it_is(missing: str) -> None:
    document = RECORD.to_json()
    del document[missing]
    with pytest.raises(InputError, match=missing):
        Record.from_json(document)


@pytest.mark.parametrize(
    "change", [{"pid": "x"}, {"cases": {}}, {"outcome": "lost"}, {"started": None}]
)
def test_a_run_has_the_right_types(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        Run.from_json({**RUN.to_json(), **change})


def test_what_json_has_no_word_for_is_none() -> None:
    odd = replace(
        RECORD, metrics={"psnr_db": float("inf")}, grid={"spacing_mm": (1.0, float("nan"))}
    )
    document = json.loads(json.dumps(odd.to_json(), allow_nan=False))
    assert document["metrics"] == {"psnr_db": None}
    assert document["grid"] == {"spacing_mm": [1.0, None]}


def test_reading_records_loads_nothing_heavy() -> None:
    code = (
        "import sys, finevox.pipeline.cohort.store\n"
        "sys.exit(str({'torch', 'monai', 'numpy', 'nibabel', 'dask', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.stderr.strip() == b"set()"
