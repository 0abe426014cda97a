"""What a cohort publishes, refuses, keeps and takes up again."""

from __future__ import annotations

import fcntl
import json
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.record import Record, Run, now
from finevox.pipeline.cohort.staging import Attempt
from finevox.pipeline.cohort.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "out")
    with one.locked("r"):
        yield one


def record_of(attempt: Attempt, **changes: str) -> Record:
    record = Record(
        case=attempt.case,
        state="done",
        run=attempt.run,
        attempt=attempt.id,
        time=now(),
        source="/s",
    )
    return Record.from_json({**record.to_json(), **changes})


def staged(store: Store, case: str, *, overwrite: bool = False, **files: str) -> Attempt:
    """A finished attempt; ``files`` have their contents by their names, a dot left out."""
    attempt = store.new_attempt(case, "r", overwrite=overwrite)
    # As a worker gets it.
    worker: Attempt = pickle.loads(pickle.dumps(attempt))  # noqa: S301 - our own
    worker.begin()
    for name, content in files.items():
        worker.path(f"sub/{name}.nii").write_text(content)
    worker.finish(record_of(worker), [f"sub/{name}.nii" for name in files])
    return attempt


def again(store: Store) -> Store:
    """The store as the next process has it; the lock is the same."""
    return Store(store.output)


def contents(store: Store) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(store.output.glob("sub/*"))}


def left(store: Store) -> list[Path]:
    return list((store.folder / "staging").iterdir())


def test_published_recorded_and_tidied(store: Store) -> None:
    attempt = staged(store, "a", x="one", y="two")
    assert contents(store) == {}
    assert attempt.finished
    record = store.publish(attempt)
    assert contents(store) == {"x.nii": "one", "y.nii": "two"}
    assert (record.attempt, record.state) == (attempt.id, "done")
    assert sorted(record.outputs) == ["sub/x.nii", "sub/y.nii"]
    assert list(store.manifest.records()) == [record]
    assert store.check(record)
    assert store.owners() == {"sub/x.nii": "a", "sub/y.nii": "a"}
    assert left(store) == []
    # Once more is the same.
    assert store.publish(attempt) == record
    assert again(store).publish(attempt) == record
    assert list(store.manifest.records()) == [record]


def test_a_done_record_is_checked(store: Store) -> None:
    record = store.publish(staged(store, "a", x="one", y="two"))
    assert not store.check(replace(record, state="failed"))
    assert not store.check(replace(record, outputs={}))
    path = store.output / "sub" / "x.nii"
    path.write_text("One")
    assert not store.check(record)
    path.unlink()
    assert not store.check(record)


def test_a_newer_attempt_replaces_what_the_case_had(store: Store) -> None:
    store.publish(staged(store, "a", x="one", label="1", mask="1"))
    # Somebody has drawn in it, so it is kept.
    (store.output / "sub" / "mask.nii").write_text("mine")
    record = store.publish(staged(store, "a", x="two", y="new"))
    assert contents(store) == {"mask.nii": "mine", "x.nii": "two", "y.nii": "new"}
    assert store.check(record)
    assert store.owners() == {"sub/x.nii": "a", "sub/y.nii": "a"}
    with pytest.raises(InputError, match=r"mask\.nii: exists already"):
        store.publish(staged(store, "a", x="two", mask="1"))


def test_a_damaged_result_is_made_again(store: Store) -> None:
    store.publish(staged(store, "a", x="one"))
    (store.output / "sub" / "x.nii").write_text("o")
    assert store.check(again(store).publish(staged(store, "a", x="one")))


def test_nothing_of_others_is_replaced(store: Store) -> None:
    (store.output / "sub").mkdir()
    (store.output / "sub" / "y.nii").write_text("mine")
    attempt = staged(store, "a", x="one", y="two")
    with pytest.raises(InputError, match=r"y\.nii: exists already and is not of this cohort"):
        store.publish(attempt)
    # Not even what could have been published is there.
    assert contents(store) == {"y.nii": "mine"}
    assert list(store.manifest.records()) == []
    assert left(store) == []
    store.publish(staged(store, "a", overwrite=True, x="one", y="two"))
    assert contents(store) == {"x.nii": "one", "y.nii": "two"}


def test_a_file_that_is_there_already_with_the_same_content(store: Store) -> None:
    (store.output / "sub").mkdir()
    (store.output / "sub" / "x.nii").write_text("one")
    assert store.check(store.publish(staged(store, "a", x="one")))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_case_does_not_replace_the_results_of_another(store: Store, overwrite: bool) -> None:
    record = store.publish(staged(store, "a", x="one"))
    with pytest.raises(InputError, match=r"x\.nii: is the result of case a"):
        store.publish(staged(store, "b", overwrite=overwrite, x="two"))
    assert store.check(record)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("place", "folder", "message"),
    [
        ("sub", False, "sub: is a file where a folder has to be"),
        ("sub/x.nii", True, r"x\.nii: is a folder"),
    ],
)
def test_files_and_folders_do_not_change_places(
    store: Store, overwrite: bool, place: str, folder: bool, message: str
) -> None:
    path = store.output / place
    path.mkdir(parents=True) if folder else path.write_text("mine")
    with pytest.raises(InputError, match=message):
        store.publish(staged(store, "a", overwrite=overwrite, x="one"))
    assert path.is_dir() == folder


def test_an_attempt_is_of_one_worker(store: Store) -> None:
    attempt = store.new_attempt("a", "r")
    with pytest.raises(CohortError, match="cannot be used"):
        attempt.path("x.nii")
    attempt.begin()
    with pytest.raises(CohortError, match="begun by another worker"):
        attempt.begin()


def test_an_attempt_that_was_given_up_takes_nothing_more(store: Store) -> None:
    attempt = store.new_attempt("a", "r")
    attempt.begin()
    path = attempt.path("sub/x.nii")
    path.write_text("one")
    store.discard(attempt)
    store.discard(attempt)
    assert left(store) == []
    for late in (
        attempt.begin,
        lambda: attempt.path("y.nii"),
        lambda: attempt.path("sub/y.nii"),
        lambda: attempt.finish(record_of(attempt), ["sub/x.nii"]),
    ):
        with pytest.raises(CohortError, match="given up"):
            late()
    with pytest.raises(FileNotFoundError):
        path.write_text("one")
    with pytest.raises(CohortError, match="no record of a finished attempt"):
        store.publish(attempt)
    assert left(store) == []


@pytest.mark.parametrize("place", ["/etc/passwd", "../x.nii", "sub/../../x.nii", "", "."])
def test_outputs_are_below_the_output(store: Store, place: str) -> None:
    attempt = store.new_attempt("a", "r")
    attempt.begin()
    with pytest.raises(InputError, match="no place below the output"):
        attempt.path(place)


def test_an_attempt_without_its_files_is_not_finished(store: Store) -> None:
    attempt = store.new_attempt("a", "r")
    attempt.begin()
    with pytest.raises(CohortError, match="no output"):
        attempt.finish(record_of(attempt), [])
    with pytest.raises(CohortError, match=r"x\.nii: cannot be used \(No such file"):
        attempt.finish(record_of(attempt), ["x.nii"])
    assert not attempt.finished
    with pytest.raises(CohortError, match="no record of a finished attempt"):
        store.publish(attempt)


def test_a_failure_keeps_its_traceback(store: Store) -> None:
    attempt = store.new_attempt("sub-01/a\udcff", "r")
    failed = record_of(attempt, state="failed", reason="not an MRI")
    record = store.fail(failed, "Traceback: a\udcff")
    assert record.traceback is not None
    assert (store.output / record.traceback).read_text() == "Traceback: a\\udcff"
    assert attempt.id in record.traceback
    assert store.fail(failed).traceback is None
    assert store.states() == {failed.case: failed}


def test_a_failure_is_recorded_even_where_its_traceback_cannot_be_kept(store: Store) -> None:
    (store.folder / "tracebacks").rmdir()
    failed = record_of(store.new_attempt("a", "r"), state="failed")
    assert store.fail(failed, "Traceback") == failed
    assert store.states() == {"a": failed}


def test_a_finished_attempt_is_taken_up(store: Store) -> None:
    attempt = staged(store, "a", x="one", y="two")
    unfinished = store.new_attempt("b", "r")
    unfinished.begin()
    unfinished.path("b.nii").write_text("half")
    [record], removed = again(store).recover()
    assert (record.attempt, removed) == (attempt.id, 1)
    assert store.check(record)
    assert list(store.manifest.records()) == [record]
    assert left(store) == []
    assert not (store.output / "b.nii").exists()
    assert again(store).recover() == ([], 0)


def test_what_is_not_whole_is_not_taken_up(store: Store) -> None:
    cut, lost = staged(store, "x", x="whole"), staged(store, "y", y="whole")
    unreadable = staged(store, "z", z="whole")
    cut.staged("sub/x.nii").write_text("who")
    lost.staged("sub/y.nii").unlink()
    (unreadable.folder / "record.json").write_text('{"case": "z"')
    assert again(store).recover() == ([], 3)
    assert contents(store) == {}
    assert left(store) == []


def test_what_has_been_done_since_is_not_taken_up(store: Store) -> None:
    older = staged(store, "a", x="older")
    record = store.publish(staged(store, "a", x="newer"))
    newest = staged(store, "a", x="newest")
    # Clocks differ, and do not count.
    assert older.recorded < newest.recorded
    records, removed = again(store).recover()
    assert ([one.attempt for one in records], removed) == ([newest.id], 1)
    assert not store.check(record)
    assert contents(store) == {"x.nii": "newest"}


def test_an_attempt_may_not_replace_more_when_it_is_taken_up(store: Store) -> None:
    (store.output / "sub").mkdir()
    for name in "xy":
        (store.output / "sub" / f"{name}.nii").write_text("mine")
    staged(store, "a", x="one")
    staged(store, "b", overwrite=True, y="two")
    records, removed = again(store).recover()
    assert removed == 0
    assert contents(store) == {"x.nii": "mine", "y.nii": "two"}
    states = store.states()
    assert records == list(states.values())
    assert (states["a"].state, states["b"].state) == ("failed", "done")
    assert "exists already" in str(states["a"].reason)
    assert states["a"].outputs == {}


def test_half_published_and_then_refused(store: Store) -> None:
    attempt = staged(store, "a", x="one", y="two")
    attempt.staged("sub/x.nii").replace(store.output / "x")
    (store.output / "sub").mkdir()
    (store.output / "x").replace(store.output / "sub" / "x.nii")
    (store.output / "sub" / "y.nii").write_text("mine")
    [record], _ = again(store).recover()
    assert record.state == "failed"
    # What it had published itself is nobody's otherwise, and in its own way the next time.
    assert contents(store) == {"y.nii": "mine"}


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_last_line_that_was_cut_is_made_good(store: Store, kept: float) -> None:
    first = store.publish(staged(store, "a", x="one"))
    last = store.publish(staged(store, "b", y="two"))
    content = store.manifest.path.read_bytes()
    start = content.index(b"\n") + 1
    store.manifest.path.write_bytes(content[: start + int(kept * (len(content) - start))])
    assert again(store).states() == {"a": first}
    assert again(store).recover() == ([last], 0)
    assert again(store).states() == {"a": first, "b": last}
    assert again(store).recover() == ([], 0)


def test_a_record_whose_files_are_gone_is_not_made_good(store: Store) -> None:
    store.publish(staged(store, "a", x="one"))
    store.manifest.path.write_bytes(b"")
    (store.output / "sub" / "x.nii").write_text("on")
    assert again(store).recover() == ([], 0)
    # But the file is the cohort's even so.
    assert store.check(again(store).publish(staged(store, "a", x="one")))


def test_a_second_run_is_refused(store: Store) -> None:
    with (
        pytest.raises(
            CohortError, match=r"out: run r on \S+ \(process \d+, since 2\S+\) is at work"
        ),
        again(store).locked("s"),
    ):
        pass
    assert json.loads((store.folder / "lock").read_text())["run"] == "r"


def test_a_look_at_the_lock_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.locked("r"):
        pass
    with (store.folder / "lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with store.locked("s"):
            assert json.loads((store.folder / "lock").read_text())["run"] == "s"
    assert (store.folder / "lock").read_text() == ""


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(InputError, match="out: cannot be written"),
        Store(tmp_path / "out").locked("r"),
    ):
        pass


def test_reading_makes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    assert (store.states(), store.runs(), store.last_run()) == ({}, [], None)
    assert list(tmp_path.iterdir()) == []


def run_named(name: str, started: str) -> Run:
    return Run(
        run=name, command="", job="degrade", layout="ixi", inputs=[], output="", settings={},
        cases=["a"], started=started, host="here", pid=1,
    )  # fmt: skip


def test_runs_are_kept_in_the_order_of_their_start(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    second, first = run_named("a", "2025-02-01T00:00:00"), run_named("b", "2025-01-01T00:00:00")
    store.write_run(second)
    store.write_run(first)
    ended = replace(second, outcome="finished", ended=now())
    store.write_run(ended)
    (store.folder / "runs" / "c.json").write_text("{")
    (store.folder / "runs" / ".d.json.xyz.part").write_text("{")
    assert store.runs() == [first, ended]
    assert store.last_run() == ended
    assert "c.json" in caplog.text
    store.recover()
    assert sorted(path.name for path in (store.folder / "runs").iterdir()) == [
        "a.json",
        "b.json",
        "c.json",
    ]
