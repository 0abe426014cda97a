"""``finevox cache``: what is kept, how much, since when; and its removal."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from images import command

from finevox.pipeline.engines.cache import ModelCache

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINEVOX_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("FINEVOX_CACHE_SIZE", "3MB")
    return tmp_path / "kept"


def test_what_is_kept_is_listed_and_removed(folder: Path, capfd: Capture) -> None:
    ModelCache().put("a" * 64, ".blob", bytes(1_499_968))
    ModelCache().put("b" * 64, ".onnx", b"graph")
    answer = command(capfd, "cache", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.document["folder"] == str(folder)
    assert answer.document["bound"] == 3_000_000
    assert answer.document["bytes"] == 1_500_037
    sizes = {entry["file"]: entry["bytes"] for entry in answer.document["entries"]}
    assert sizes == {"a" * 64 + ".blob": 1_500_000, "b" * 64 + ".onnx": 37}
    for entry in answer.document["entries"]:
        ago = datetime.now().astimezone() - datetime.fromisoformat(entry["last_used"])
        assert timedelta(seconds=-1) <= ago < timedelta(hours=1)

    listed = command(capfd, "cache")
    assert listed.code == 0
    assert "b" * 64 + ".onnx" in listed.out
    assert "37 bytes" in listed.out
    assert f"{folder}: 2 files of compiled models, 1.5 MB of 3.0 MB" in listed.out

    cleared = command(capfd, "cache", "--clear")
    assert cleared.out.splitlines() == [f"{folder}: 0 files of compiled models, 0 bytes of 3.0 MB"]
    assert list(folder.iterdir()) == []


def test_a_folder_of_others_is_not_cleared(folder: Path, capfd: Capture) -> None:
    ModelCache().put("a" * 64, ".blob", b"data")
    folder.chmod(0o777)
    answer = command(capfd, "cache", "--clear")
    assert (answer.code, answer.out) == (2, "")
    assert str(folder) in answer.err
    assert len(list(folder.iterdir())) == 1


def test_a_place_that_cannot_be_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    folder.touch()
    monkeypatch.setenv("FINEVOX_CACHE", str(folder / "below"))
    answer = command(capfd, "cache")
    assert answer.code == 2
    assert "cannot be used" in answer.err


def test_it_loads_no_torch() -> None:
    code = (
        "import json, sys; from finevox.workflows.cli import main; main(['cache', '--json']);"
        "print(json.dumps(sorted({'torch', 'monai', 'onnx', 'openvino'} & set(sys.modules))))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert json.loads(out.stdout.splitlines()[-1]) == []
