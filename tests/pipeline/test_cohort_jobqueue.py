"""Jobs of a queueing system: what the file says, and a small queue of real processes.

The queue starts every job at once on this machine. tests/cluster/ has a real SLURM.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask_jobqueue
import psutil
import pytest
from dask_jobqueue.slurm import SLURMCluster
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

from finevox.errors import CohortError, ConfigError
from finevox.pipeline.cohort.jobqueue import start_jobqueue
from finevox.pipeline.cohort.jobqueue_settings import (
    margin_seconds,
    read_job_settings,
    walltime_seconds,
)
from finevox.pipeline.cohort.pool import Pool

LEAST = "cores: 2\nmemory: 1GB\n"
# A queueing system of three commands: a job is a process group of its own.
COMMANDS = {
    "sbatch": 'job=$(mktemp $QUEUE/job.XXXXXX); cp "$1" $job\n'
    "setsid bash $job </dev/null >>$QUEUE/log 2>&1 &\n"
    "sleep 0.2; touch $QUEUE/$!; echo Submitted batch job $!",
    "scancel": "kill -- -$1",
    "squeue": "for job in $(cd $QUEUE; ls | grep -x '[0-9]*'); do\n"
    "  pgrep -g $job >/dev/null && echo $job\ndone; true",
}


def config(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_wall_times_of_slurm(days: int, hours: int, minutes: int, seconds: int) -> None:
    wanted = 86400 * days + 3600 * hours + 60 * minutes + seconds
    if not wanted:
        return
    assert walltime_seconds("slurm", f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == wanted
    assert walltime_seconds("slurm", f"{24 * days + hours}:{minutes}:{seconds}") == wanted
    assert walltime_seconds("pbs", str(wanted)) == walltime_seconds("sge", str(wanted)) == wanted


@pytest.mark.parametrize(
    ("kind", "text", "seconds"),
    [
        ("slurm", "90", 5400),
        ("slurm", "1:30", 90),
        ("slurm", "1-6", 108000),
        ("slurm", "1-6:30", 109800),
        ("pbs", "1:30", 90),
        ("sge", "01:00:00", 3600),
        ("lsf", "90", 5400),
        ("lsf", "1:30", 5400),
    ],
)
def test_short_wall_times_are_read_as_each_system_does(kind: str, text: str, seconds: int) -> None:
    assert walltime_seconds(kind, text) == seconds


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("slurm", text) for text in ("soon", "", "00:00", "1:2:3:4", "-5")),
        ("pbs", "1-00:00:00"),
        ("lsf", "01:00:00"),
    ],
)
def test_what_is_no_wall_time_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"no wall time of {kind}"):
        walltime_seconds(kind, text)


@given(st.integers(60, 10**6))
def test_a_worker_always_has_most_of_the_wall_time(seconds: int) -> None:
    assert 0 < margin_seconds(seconds) <= 0.1 * seconds


def test_what_the_file_says(tmp_path: Path) -> None:
    text = LEAST + "jobs: {maximum: 3}\nqueue: long\njob-extra-directives: [--nice]\nprocesses: 2"
    settings, others = read_job_settings(config(tmp_path, text), SLURMCluster)
    assert (settings.jobs.minimum, settings.jobs.maximum, settings.threads) == (0, 3, 1)
    assert settings.job_extra_directives == ("--nice",)
    assert others == {"queue": "long"}


@pytest.mark.parametrize(
    ("name", "key"),
    [("PBS", "resource_spec"), ("SGE", "project"), ("LSF", "ncpus"), ("SLURM", "local_directory")],
)
def test_every_system_has_keys_of_its_own(tmp_path: Path, name: str, key: str) -> None:
    kind = getattr(dask_jobqueue, f"{name}Cluster")
    assert read_job_settings(config(tmp_path, LEAST + f"{key}: a"), kind)[1] == {key: "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAST + "quue: long", "unknown key quue; did you mean queue"),
        (LEAST + "resource_spec: a", "unknown key resource_spec"),  # of PBS
        (LEAST + "protocol: tcp", "unknown key protocol"),
        (LEAST + "scheduler_options: {protocol: tcp}", "unknown key scheduler_options.protocol"),
        (LEAST + "jobs: {most: 3}", "unknown key jobs.most"),
        (LEAST + "jobs: {maximum: 0}", "maximum 0"),
        (LEAST + "jobs: {minimum: 9}", "minimum 9, maximum 8"),
        (LEAST + "processes: 3", "processes 3, cores 2"),
        (LEAST + "walltime: 10:00:00", "walltime is the number 36000.*quotes"),
        (LEAST + "job_extra_directives: --nice", "should be a list"),
        ("memory: 1GB", "cores is missing"),
        ("cores: 2\nmemory: much", "memory 'much'"),
        ("cores: two\nmemory: 1GB", "cores is 'two'"),
        ("cores: [", "cannot be read as YAML"),
        ("cores", "holds no keys"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = config(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_job_settings(path, SLURMCluster)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A queueing system on the path; no job outlives the test."""
    folder = tmp_path / "queue"
    (folder / "bin").mkdir(parents=True)
    for name, script in COMMANDS.items():
        command = folder / "bin" / name
        command.write_text(f"#!/bin/bash\nQUEUE={folder}\n{script}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    yield folder
    for job in numbers(folder):
        subprocess.run([folder / "bin" / "scancel", job], check=False, capture_output=True)


def numbers(queue: Path) -> list[str]:
    done = subprocess.run(
        [queue / "bin" / "squeue"], check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout.split()


def until(true: Callable[[], bool], pool: Pool, jobs: int) -> None:
    """Ask for jobs, as a run does, until something is true."""
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        pool.scale(jobs)
        time.sleep(0.1)


def names(client: Client) -> set[str]:
    return {str(one["name"]) for one in client.scheduler_info(n_workers=-1)["workers"].values()}


def scheme(pool: Pool) -> str:
    """``tls`` where the workers are talked to with encryption, or ``tcp``."""
    return str(pool.client.scheduler_info(n_workers=-1)["address"]).partition("://")[0]


def outside(process: psutil.Process) -> set[int]:
    """Ports of a process that others in the network can reach."""
    return {
        one.laddr.port
        for one in process.net_connections()
        if one.status == psutil.CONN_LISTEN and one.laddr.ip not in ("127.0.0.1", "::1")
    }


def answers_plainly(port: int) -> bool:
    """Whether a port has anything to say to a browser without TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        try:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(plain.recv(1))
        except ConnectionResetError:
            return False


def test_jobs_come_are_replaced_and_go(queue: Path, tmp_path: Path) -> None:
    output, path = tmp_path / "out", config(tmp_path, LEAST + "jobs: {maximum: 2}")
    pool: Pool = start_jobqueue("slurm", path, None, output, output / "logs")
    try:
        tls = output / "tls"
        assert tls.is_dir()
        assert (pool.threads, pool.maximum, pool.local) == (2, 2, False)
        until(lambda: len(names(pool.client)) == 2, pool, 5)
        assert len(numbers(queue)) == 2
        # Encrypted, and no other port that the network can reach.
        assert scheme(pool) == "tls"
        for port in outside(psutil.Process()):
            assert not answers_plainly(port)
        threads = pool.client.run(os.getenv, "OMP_NUM_THREADS")
        assert set(threads.values()) == {"2"}
        assert set(pool.client.nthreads().values()) == {2}

        # A job that ends without a word is replaced by another.
        before, lost = names(pool.client), numbers(queue)[0]
        os.killpg(int(lost), signal.SIGKILL)
        until(lambda: len(names(pool.client) - before) == 1, pool, 2)
        assert lost not in numbers(queue)

        # Whoever is at work stays.
        workers = pool.client.scheduler_info(n_workers=-1)["workers"]
        address, busy = next((address, one["name"]) for address, one in workers.items())
        flag = tmp_path / "go on"
        future = pool.client.submit(wait_for, str(flag), workers=[address], pure=False)
        until(lambda: bool(pool.client.processing()[address]), pool, 2)
        until(lambda: names(pool.client) == {busy}, pool, 1)
        flag.touch()
        assert future.result(timeout=60) == "gone on"
    finally:
        pool.close()
    assert not tls.exists()
    end = time.monotonic() + 60
    while numbers(queue):
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for(flag: str) -> str:
    while not Path(flag).exists():
        time.sleep(0.05)
    return "gone on"


def test_jobs_that_bring_no_worker_end_the_run(queue: Path, tmp_path: Path) -> None:
    text = LEAST + "jobs: {maximum: 5}\ninterface: lo\npython: /no/such/python"
    pool = start_jobqueue("slurm", config(tmp_path, text), None, tmp_path, tmp_path / "logs")
    try:
        with pytest.raises(CohortError, match=f"brought no worker.*{tmp_path / 'logs'}"):
            until(lambda: False, pool, 5)
    finally:
        pool.close()
    assert "/no/such/python" in (queue / "log").read_text()


def test_on_loopback_there_is_no_tls(queue: Path, tmp_path: Path) -> None:
    path = config(tmp_path, LEAST + "interface: lo")
    pool = start_jobqueue("slurm", path, None, tmp_path, tmp_path / "logs")
    try:
        assert scheme(pool) == "tcp"
        assert "on loopback" in pool.describe()
        assert not (tmp_path / "tls").exists()
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("walltime: 5 min", "walltime '5 min'"),
        ("interface: no-such", "interface 'no-such'.*lo"),
        ("scheduler_options: {host: 192.0.2.77}", "cluster slurm|address"),
    ],
)
def test_what_cannot_start_says_so(queue: Path, tmp_path: Path, text: str, message: str) -> None:
    path = config(tmp_path, LEAST + text)
    with pytest.raises((ConfigError, CohortError), match=message) as caught:
        start_jobqueue("slurm", path, None, tmp_path, tmp_path / "logs")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tls").exists()


def test_without_the_queueing_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with pytest.raises(ConfigError, match="no command bsub here"):
        start_jobqueue("lsf", config(tmp_path, LEAST), None, tmp_path, tmp_path / "logs")
