"""How many threads there are, and that work done in pieces is the work done at once."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finevox.transforms import bicubic_resize, kspace_resize
from finevox.transforms.threads import PIECE, in_pieces, threads

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("1", 1),
        (" 1 ", 1),
        ("1,4", 1),
        ("100000", CORES),
        ("", CORES),
        ("0", CORES),
        ("many", CORES),
        ("-2", CORES),
        (None, CORES),
    ],
)
def test_threads_are_the_cores_and_no_more_than_asked_for(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, wanted: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads() == wanted


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_threads_are_the_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@given(
    others=st.lists(st.sampled_from((1, 2, 3, 50, 301)), max_size=3),
    place=st.integers(0, 3),
    workers=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_every_sample_is_in_one_piece_of_each_array(
    others: list[int], place: int, workers: int
) -> None:
    axis = min(place, len(others))
    long, short = (np.zeros((*others[:axis], n, *others[axis:]), np.int8) for n in (7, 2))
    numbers = np.arange(np.prod(others)).reshape(*others[:axis], 1, *others[axis:])

    def work(a: np.ndarray, b: np.ndarray, number: np.ndarray) -> None:
        # The pieces lie at the same place in all arrays.
        assert (a.shape[axis], b.shape[axis]) == (7, 2)
        a += 1
        b += np.asarray(number % 5, np.int8)

    in_pieces(work, axis, long, short, numbers, workers=workers)
    assert (long == 1).all()
    np.testing.assert_array_equal(short, np.broadcast_to(numbers % 5, short.shape))


def test_a_large_array_comes_in_pieces_that_fit_a_cache() -> None:
    sizes = []
    array = np.zeros((40, 7, 5000), np.int8)
    in_pieces(lambda piece: sizes.append(piece.size), 1, array, workers=1)
    assert len(sizes) > 3
    assert sum(sizes) == array.size
    assert max(sizes) <= PIECE


@pytest.mark.parametrize("workers", [1, 3])
def test_what_goes_wrong_in_a_piece_is_not_lost(workers: int) -> None:
    def work(piece: np.ndarray) -> None:
        if piece.any():
            raise ZeroDivisionError("this piece")

    array = np.zeros((1000, 1000), np.int8)
    array[700, 700] = 1
    with pytest.raises(ZeroDivisionError, match="this piece"):
        in_pieces(work, 1, array, workers=workers)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("resize", [bicubic_resize, kspace_resize])
def test_the_number_of_threads_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, resize: object, order: str
) -> None:
    assert callable(resize)
    volume = np.random.default_rng(0).random((70, 90, 80), dtype=np.float32)
    volume = np.asarray(volume, order="F" if order == "F" else "C")
    assert volume.size > PIECE
    results = []
    for count in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        results.append(resize(volume, {0: 35, 1: 180, 2: 40}))
    np.testing.assert_array_equal(*results)
