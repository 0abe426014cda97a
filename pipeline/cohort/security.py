"""Who may talk to a run: certificates, and no plain connection beyond this machine."""

from __future__ import annotations

import ipaddress
import shutil
import socket
from pathlib import Path

import psutil
from distributed import Security
from distributed.comm.addressing import parse_address, parse_host_port

from finevox.errors import ConfigError, InputError

OPTIONS = ("--tls-ca", "--tls-cert", "--tls-key")
IN_PROCESS, PLAIN, ENCRYPTED = "inproc", "tcp", "tls"


def make_security(ca: Path | None, cert: Path | None, key: Path | None) -> Security | None:
    """TLS from three PEM files, for every role; None if none is given.

    Parameters
    ----------
    ca
        Certificate of the authority that signed everyone's.
    cert, key
        Own certificate and its key.

    Raises
    ------
    InputError
        If only some are given, or one cannot be used.
    """
    given = {
        option: path.absolute()  # jobs start in another folder
        for option, path in zip(OPTIONS, (ca, cert, key), strict=True)
        if path is not None
    }
    if not given:
        return None
    if missing := [option for option in OPTIONS if option not in given]:
        raise InputError(f"TLS needs three files; give {' and '.join(missing)} too")
    for option, path in given.items():
        if not path.is_file():
            raise InputError(f"{option} {path}: no such file")
    return _load(*given.values())


def temporary_security(folder: Path) -> Security:
    """TLS from certificates made for one run, in a folder that only the user can read.

    Raises
    ------
    ConfigError
        If what makes them is not installed.
    InputError
        If they cannot be written.
    """
    try:
        made = Security.temporary()
    except ImportError as error:
        raise ConfigError(
            f"TLS needs certificates: give {', '.join(OPTIONS)}, or pip install finevox[cluster], "
            "which makes some"
        ) from error
    paths = [folder / name for name in ("ca.pem", "cert.pem", "key.pem")]
    texts = (made.tls_ca_file, made.tls_client_cert, made.tls_client_key)
    try:
        # A run that was killed may have left one behind.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        for path, text in zip(paths, texts, strict=True):
            path.touch(mode=0o600)
            path.write_text(text, encoding="ascii")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return _load(*paths)


def _load(ca: Path, cert: Path, key: Path) -> Security:
    roles = ("client", "scheduler", "worker")
    try:
        # OpenSSL would ask for a passphrase, and again on every worker.
        if "ENCRYPTED" in key.read_text(encoding="ascii"):
            raise InputError(f"{key}: is a key with a passphrase; give one without")
        security = Security(
            require_encryption=True,
            tls_ca_file=str(ca),
            **{f"tls_{role}_cert": str(cert) for role in roles},
            **{f"tls_{role}_key": str(key) for role in roles},
        )
        security.get_connection_args("client")
    except (OSError, UnicodeDecodeError) as error:  # a failure of OpenSSL is an OSError
        raise InputError(
            f"{ca}, {cert}, {key}: no certificates and key that fit together ({error})"
        ) from error
    return security


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this machine alone; an unknown name is not."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found)


def is_loopback_interface(name: str) -> bool:
    """Whether a network interface is of this machine alone.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    known = psutil.net_if_addrs()
    if name not in known:
        raise ConfigError(f"interface {name!r}: not on this machine; it has {', '.join(known)}")
    families = (socket.AF_INET, socket.AF_INET6)
    return all(is_loopback(one.address) for one in known[name] if one.family in families)


def check_scheduler_address(address: str, security: Security | None, *, allow_plain: bool) -> None:
    """Refuse what would leave this machine without TLS.

    Raises
    ------
    InputError
        If the address is none, or it and the certificates do not go together.
    """
    scheme, host = _parts(address)
    if scheme == IN_PROCESS:
        return
    options = ", ".join(OPTIONS)
    if scheme == ENCRYPTED and security is None:
        raise InputError(f"scheduler {address}: TLS needs certificates; give {options}")
    if scheme == PLAIN and security is not None:
        raise InputError(
            f"scheduler {address}: is not encrypted, though {options} are given; start it with "
            f"these too and give {ENCRYPTED}://, or leave them out"
        )
    if scheme == PLAIN and not allow_plain and not is_loopback(host):
        raise InputError(
            f"scheduler {address}: leaves this machine without encryption; give {ENCRYPTED}:// and "
            f"{options}, or --plain-tcp in a network where you trust everyone"
        )


def _parts(address: str) -> tuple[str, str]:
    """Scheme and host."""
    wanted = f"give {PLAIN}://HOST:PORT or {ENCRYPTED}://HOST:PORT"
    try:
        scheme, place = parse_address(address, strict=True)
        host = "" if scheme == IN_PROCESS else parse_host_port(place)[0]
    except ValueError as error:
        raise InputError(f"scheduler {address!r}: is no address; {wanted}") from error
    if scheme not in (IN_PROCESS, PLAIN, ENCRYPTED):
        raise InputError(f"scheduler {address!r}: {scheme} is not supported; {wanted}")
    return scheme, host
