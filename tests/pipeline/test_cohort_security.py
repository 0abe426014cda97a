"""TLS of a cohort run: real certificates, real sockets, and what is refused before any is used."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, Security
from hypothesis import given
from hypothesis import strategies as st

from finevox.errors import ConfigError, InputError
from finevox.pipeline.cohort.security import (
    check_scheduler_address,
    is_loopback,
    is_loopback_interface,
    make_security,
    temporary_security,
)

OUTSIDE = "tcp://192.0.2.7:8786"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, cert.pem and key.pem."""
    folder = tmp_path_factory.mktemp("keys") / "tls"
    temporary_security(folder)
    return folder


@pytest.fixture(scope="module")
def security(keys: Path) -> Security:
    made = make_security(keys / "ca.pem", keys / "cert.pem", keys / "key.pem")
    assert made is not None
    return made


@pytest.fixture(scope="module")
def cluster(security: Security) -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1,
        processes=False,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        dashboard_address=None,
    ) as made:
        yield made


def test_with_the_certificates_a_client_works(cluster: LocalCluster, security: Security) -> None:
    with Client(cluster.scheduler_address, security=security, timeout=20) as client:
        assert client.submit(sum, (1, 2)).result(timeout=20) == 3


def test_other_certificates_are_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    stranger = temporary_security(tmp_path / "tls")
    with pytest.raises(OSError, match="TLS certificate"):
        Client(cluster.scheduler_address, security=stranger, timeout=2)


def test_without_certificates_nobody_gets_in(cluster: LocalCluster) -> None:
    plain = cluster.scheduler_address.replace("tls://", "tcp://")
    with pytest.raises(OSError, match="TCP"):
        Client(plain, timeout=2)


def test_temporary_keys_are_private_and_new(keys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "below" / "tls"
    temporary_security(folder)
    first = (folder / "key.pem").read_text()
    temporary_security(folder)
    assert (folder / "key.pem").read_text() not in (first, (keys / "key.pem").read_text())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_no_certificates_are_no_tls() -> None:
    assert make_security(None, None, None) is None


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_all_three_files_or_none(keys: Path, missing: int) -> None:
    options = ("--tls-ca", "--tls-cert", "--tls-key")
    files: list[Path | None] = [keys / "ca.pem", keys / "cert.pem", keys / "key.pem"]
    files[missing] = None
    with pytest.raises(InputError, match=f"give {options[missing]} too"):
        make_security(*files)


def test_a_missing_file_is_named(keys: Path) -> None:
    with pytest.raises(InputError, match=r"--tls-cert .*nothing\.pem: no such file"):
        make_security(keys / "ca.pem", keys / "nothing.pem", keys / "key.pem")


def test_files_that_do_not_fit_are_refused(keys: Path, tmp_path: Path) -> None:
    temporary_security(tmp_path / "tls")
    with pytest.raises(InputError, match=r"key\.pem"):
        make_security(keys / "ca.pem", keys / "cert.pem", tmp_path / "tls" / "key.pem")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"text\.pem"):
        make_security(keys / "ca.pem", tmp_path / "text.pem", keys / "key.pem")


def test_a_key_with_a_passphrase_is_refused(keys: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(InputError, match="passphrase"):
        make_security(keys / "ca.pem", keys / "cert.pem", key)


@given(st.ip_addresses(v=4))
def test_loopback_is_the_block_of_127(address: object) -> None:
    assert is_loopback(str(address)) == str(address).startswith("127.")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("::1", True), ("::", False), ("no-such-host.invalid", False)],
)
def test_names_and_version_6(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_interfaces() -> None:
    assert is_loopback_interface("lo")
    with pytest.raises(ConfigError, match=r"it has .*lo"):
        is_loopback_interface("no-such-interface")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786", "inproc://a/1"]
)
def test_this_machine_needs_no_tls(address: str) -> None:
    check_scheduler_address(address, None, allow_plain=False)


def test_beyond_it_plain_is_refused_unless_asked_for() -> None:
    with pytest.raises(InputError, match="--tls-ca, --tls-cert, --tls-key, or --plain-tcp"):
        check_scheduler_address(OUTSIDE, None, allow_plain=False)
    check_scheduler_address(OUTSIDE, None, allow_plain=True)


def test_address_and_certificates_have_to_agree(security: Security) -> None:
    encrypted = OUTSIDE.replace("tcp://", "tls://")
    check_scheduler_address(encrypted, security, allow_plain=False)
    with pytest.raises(InputError, match="--tls-ca"):
        check_scheduler_address(encrypted, None, allow_plain=True)
    with pytest.raises(InputError, match="not encrypted"):
        check_scheduler_address(OUTSIDE, security, allow_plain=True)


@pytest.mark.parametrize(
    "address", ["node1:8786", "tcp://node1", "http://node1:80", "tcp://a:b", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="give tcp://HOST:PORT or tls://HOST:PORT"):
        check_scheduler_address(address, None, allow_plain=True)
