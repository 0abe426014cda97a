"""Compiled models are found again, by nobody else's doing, within a bound."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import build

from finevox.errors import ConfigError
from finevox.networks import Network
from finevox.networks.adapt import one_channel
from finevox.pipeline.engines.cache import ModelCache, cache_folder
from finevox.pipeline.engines.key import model_key

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
DATA = bytes(range(256)) * 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kept"
    monkeypatch.setenv("FINEVOX_CACHE", str(path))
    monkeypatch.delenv("FINEVOX_CACHE_SIZE", raising=False)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_folder_is_where_the_user_or_the_desktop_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "kept"
    monkeypatch.delenv("FINEVOX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "finevox"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "finevox"
    assert mode(cache_folder()) == 0o700


@given(data=st.binary(max_size=300))
def test_what_was_kept_is_found_by_its_key_alone(data: bytes) -> None:
    ModelCache().put(A, ".blob", data)
    assert ModelCache().get(A, ".blob") == data
    assert ModelCache().get(A, ".onnx") is None
    assert ModelCache().get(B, ".blob") is None


def test_the_later_of_two_is_kept_and_what_is_removed_is_gone() -> None:
    cache = ModelCache()
    cache.put(A, ".blob", b"first")
    cache.put(A, ".blob", b"second")
    assert cache.get(A, ".blob") == b"second"
    cache.remove(A, ".blob")
    cache.remove(A, ".blob")
    assert cache.get(A, ".blob") is None


def test_files_are_private_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        ModelCache().put(A, ".blob", DATA)
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert mode(the_file(folder)) == 0o600
    assert ModelCache().get(A, ".blob") == DATA


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "short": lambda content: content[:-1],
    "shorter than a hash": lambda content: content[:7],
    "long": lambda content: content + b"\0",
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 16]) + content[-8:],
    "its hash": lambda content: bytes([content[0] ^ 1]) + content[1:],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_counts_as_missing_and_goes(kind: str, folder: Path) -> None:
    ModelCache().put(A, ".blob", DATA)
    path = the_file(folder)
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    assert ModelCache().get(A, ".blob") is None
    assert not path.exists()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("permissions", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_to_is_left_alone(
    permissions: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ModelCache().put(A, ".blob", DATA)
    folder.chmod(permissions)
    for _ in range(3):
        cache = ModelCache()
        assert cache.get(A, ".blob") is None
        cache.put(B, ".blob", DATA)
        assert cache.entries() == []
    assert [path.name for path in folder.iterdir()] == [f"{A}.blob"]
    (warning,) = warnings_of(caplog)
    assert str(folder) in warning
    assert "FINEVOX_CACHE" in warning


def test_a_file_that_others_may_write_to_is_not_read_but_replaced(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ModelCache()
    cache.put(A, ".blob", DATA)
    the_file(folder).chmod(0o620)
    assert cache.get(A, ".blob") is None
    assert cache.get(A, ".blob") is None
    assert len(warnings_of(caplog)) == 1
    cache.put(A, ".blob", b"new")
    assert cache.get(A, ".blob") == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_nothing_of_another_user_is_read(folder: Path) -> None:
    ModelCache().put(A, ".blob", DATA)
    os.chown(the_file(folder), 1234, -1)
    assert ModelCache().get(A, ".blob") is None
    os.chown(the_file(folder), 0, -1)
    os.chown(folder, 1234, -1)
    assert ModelCache().get(A, ".blob") is None


def test_links_and_pipes_are_no_models(folder: Path) -> None:
    cache = ModelCache()
    cache.put(A, ".blob", DATA)
    (folder / f"{B}.blob").symlink_to(folder / f"{A}.blob")
    os.mkfifo(folder / f"{C}.blob", 0o600)
    assert cache.get(B, ".blob") is None
    assert cache.get(C, ".blob") is None


def test_everything_works_without_a_place_to_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FINEVOX_CACHE", str(tmp_path / "file" / "folder"))
    cache = ModelCache()
    cache.put(A, ".blob", DATA)
    cache.remove(A, ".blob")
    assert cache.get(A, ".blob") is None
    assert cache.entries() == []
    assert warnings_of(caplog) == []


def test_what_cannot_be_written_is_not_kept(folder: Path) -> None:
    cache = ModelCache()
    folder.rmdir()
    cache.put(A, ".blob", DATA)
    assert cache.get(A, ".blob") is None


def used(cache: ModelCache) -> list[str]:
    return [entry.path.name[0] for entry in cache.entries()]


def age(folder: Path) -> None:
    """Everything was used a minute earlier than it was."""
    for path in folder.iterdir():
        then = path.stat().st_mtime - 60
        os.utime(path, (then, then))


def test_what_was_used_longest_ago_makes_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_CACHE_SIZE", "2.5kB")
    cache = ModelCache()
    for key in (A, B):
        cache.put(key, ".blob", DATA)
        age(folder)
    assert used(cache) == ["b", "a"]
    assert cache.get(A, ".blob") == DATA
    assert used(cache) == ["a", "b"]
    age(folder)
    cache.put(C, ".blob", DATA)
    assert used(cache) == ["c", "a"]
    assert sum(entry.size for entry in cache.entries()) <= 2500


def test_what_is_larger_than_the_bound_drives_nothing_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINEVOX_CACHE_SIZE", "1100")
    cache = ModelCache()
    cache.put(A, ".blob", DATA)
    cache.put(B, ".blob", DATA * 2)
    assert used(cache) == ["a"]


def test_a_bound_of_zero_keeps_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEVOX_CACHE_SIZE", "0")
    cache = ModelCache()
    cache.put(A, ".blob", b"")
    assert cache.entries() == []


@pytest.mark.parametrize("text", ["many", "2 X", "-", "-5"])
def test_a_bound_that_is_no_size_is_said(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEVOX_CACHE_SIZE", text)
    with pytest.raises(ConfigError, match=r"FINEVOX_CACHE_SIZE is .* such as 500M or 2G"):
        ModelCache()


def test_clearing_leaves_what_is_not_ours(folder: Path) -> None:
    cache = ModelCache()
    cache.put(A, ".blob", DATA)
    # Of a writer that was killed.
    (folder / f".{A[:40]}.x1y2.part").write_bytes(DATA)
    (folder / "notes.txt").touch()
    cache.shrink(0)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


WRITER = """
import random, sys
from finevox.pipeline.engines.cache import ModelCache
random.seed(int(sys.argv[1]))
for _ in range(150):
    cache = ModelCache()
    key = random.choice("abcdef") * 64
    found = cache.get(key, ".blob")
    assert found in (None, key.encode() * 10), found
    cache.put(key, ".blob", key.encode() * 10)
    if random.random() < 0.1:
        cache.shrink(0)
"""


def test_processes_at_once_find_whole_models_or_none() -> None:
    environment = {**os.environ, "FINEVOX_CACHE_SIZE": "2500"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(n)], env=environment, stderr=subprocess.PIPE
        )
        for n in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
        assert errors == b""


def key_of(network: Network, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "engine": "eager",
        "shape": (2, 1, 8, 9),
        "dtype": torch.float32,
        "threads": 2,
        "versions": {"library": "1.2"},
    }
    return model_key(network=network, **{**facts, **changes})


def test_equal_networks_have_one_key_wherever_they_came_from() -> None:
    one, same = build("espcn"), build("espcn")
    same.record, same.sha256 = {"data": "phantoms"}, "f" * 64
    assert key_of(one) == key_of(same)
    assert len(key_of(one)) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "openvino"},
        {"shape": (1, 1, 8, 9)},
        {"dtype": torch.bfloat16},
        {"threads": 1},
        {"versions": {"library": "1.3"}},
    ],
)
def test_another_request_has_another_key(changes: dict[str, Any]) -> None:
    network = build("espcn")
    assert key_of(network, **changes) != key_of(network)


def test_another_network_has_another_key() -> None:
    networks = [build("edsr"), build("edsr", seed=1), build("edsr", residual_scale=0.5)]
    networks += [build("edsr", scale=3), build("srresnet"), build("rcan"), build("edsr", dims=3)]
    multiple = build("mdsr")
    networks += [multiple, build("mdsr", scale=3), build("fmen"), build("fmen").inference_form()]
    one_weight = build("edsr")
    with torch.no_grad():
        next(one_weight.parameters()).view(-1)[0] += 1e-6
    networks.append(one_weight)
    assert len({key_of(network) for network in networks}) == len(networks)


def test_a_number_that_is_no_weight_counts() -> None:
    white, grey = build("edsr"), build("edsr")
    white.image_range, grey.image_range = 255.0, 254.0
    assert key_of(one_channel(white)) != key_of(one_channel(grey))
