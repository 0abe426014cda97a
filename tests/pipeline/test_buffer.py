"""Room for results: in memory or in a file, the same tensor either way."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from finevox import InputError
from finevox.pipeline.buffer import allocate, is_mapped
from finevox.pipeline.pages import let_go

SHAPE = (1, 2, 30, 20, 40)
SIZE = 4 * 30 * 20 * 40 * 2


def open_files() -> list[str]:
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in maps if "/#" in line or "finevox-" in line]


@pytest.mark.parametrize(("limit", "mapped"), [(None, False), (SIZE, False), (SIZE - 1, True)])
def test_what_does_not_fit_is_in_a_file(
    limit: int | None, mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_SCRATCH", str(tmp_path))
    out = allocate(SHAPE, limit)
    assert is_mapped(out) is is_mapped(out[0, 1]) is mapped
    assert (tuple(out.shape), out.dtype) == (SHAPE, torch.float32)
    values = torch.arange(out.numel(), dtype=torch.float32).reshape(SHAPE)
    out[...] = values
    let_go()
    assert torch.equal(out, values)
    # A file without a name: nothing is left, whatever becomes of the process.
    assert list(tmp_path.iterdir()) == []
    # A plane of slices is one piece of memory, as in a NIfTI file.
    assert out[0, 0, :, :, 3].T.is_contiguous()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which files are mapped")
def test_the_file_is_gone_with_the_last_view_of_the_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_SCRATCH", str(tmp_path))
    before = len(open_files())
    out = allocate(SHAPE, 0)
    out[...] = 2.0
    view = out[0, 0].numpy()
    del out
    gc.collect()
    assert len(open_files()) == before + 1
    np.testing.assert_array_equal(view, 2.0)
    del view
    gc.collect()
    assert len(open_files()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="pages are let go on Linux")
def test_pages_that_are_let_go_are_no_longer_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_SCRATCH", str(tmp_path))
    out = allocate((64, 64, 1024), 0)
    held = psutil.Process().memory_info().rss
    out[...] = 1.0
    assert psutil.Process().memory_info().rss - held > 0.9 * out.nbytes
    let_go()
    assert psutil.Process().memory_info().rss - held < 0.3 * out.nbytes
    assert float(out.mean()) == 1.0


def test_pages_are_let_go_while_another_thread_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_SCRATCH", str(tmp_path))

    def make_room() -> int:
        made = 0
        for _ in range(40):
            kept = [allocate((4, 4, 4), 0) for _ in range(20)]
            made += sum(map(is_mapped, kept))
            del kept
        return made

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            rooms = [pool.submit(make_room) for _ in range(2)]
            while not all(room.done() for room in rooms):
                let_go()
            assert [room.result() for room in rooms] == [800, 800]
    finally:
        sys.setswitchinterval(interval)


def test_no_room_is_an_input_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_SCRATCH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="FINEVOX_SCRATCH") as caught:
        allocate(SHAPE, 0)
    assert str(tmp_path / "none") in str(caught.value)
