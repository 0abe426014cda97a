"""What is recorded of a cohort: a :class:`Record` for each attempt, a :class:`Run` for each run.

Both are plain JSON on the disk. A reader ignores keys that it does not know and takes defaults for
those that are missing, so that old and new versions read each other's records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from finevox.errors import InputError
from finevox.pipeline.cohort.case import Case

State = Literal["done", "failed", "skipped"]
Outcome = Literal["running", "finished", "interrupted", "stopped"]
STATES = ("done", "failed", "skipped")
OUTCOMES = ("running", "finished", "interrupted", "stopped")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One attempt at one case: a line of the manifest.

    ``case`` is the path of the input below its root without the suffix of images, ``source`` where
    the input lies. ``time`` is the end of the attempt (:func:`now`). ``outputs`` has the SHA-256
    of each file by its path below the output of the cohort. ``skipped`` says that the case was
    done already, with the same input, settings, weights and outputs, and nothing was computed.
    """

    case: str
    state: State
    reason: str | None = None
    traceback: str | None = None
    run: str
    attempt: str
    time: str
    subject: str | None = None
    session: str | None = None
    contrast: str | None = None
    site: str | None = None
    source: str
    source_sha256: str | dict[str, str] | None = None
    settings_sha256: str | None = None
    weights_sha256: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    worker: str | None = None
    device: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    summary: str | None = None
    references: list[str] = field(default_factory=list)
    thumbnail: str | None = None

    @classmethod
    def of(cls, case: Case, **facts: Any) -> Record:
        """A record of a case that ends now; ``facts`` are what the case does not say."""
        return cls(
            case=case.name,
            time=now(),
            subject=case.subject,
            session=case.session,
            contrast=case.contrast,
            site=case.site,
            source=str(case.source),
            **facts,
        )

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types; numbers that JSON has no word for are None."""
        return _to_json(self)

    @classmethod
    def from_json(cls, document: Any) -> Record:
        """The record that JSON types describe.

        Raises
        ------
        InputError
            If they describe none.
        """
        return _from_json(cls, document, RECORD_KINDS, {"state": STATES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: what it was asked for, the ``cases`` it set out to do, and how it ended.

    ``links`` are places that URIs in the outputs speak of, such as ``{"raw": path}`` for BIDS.
    """

    run: str
    command: str
    job: str
    layout: str
    inputs: list[str]
    output: str
    settings: dict[str, Any]
    cases: list[str]
    started: str
    ended: str | None = None
    outcome: Outcome = "running"
    reason: str | None = None
    host: str
    pid: int
    workers: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The run as JSON types; numbers that JSON has no word for are None."""
        return _to_json(self)

    @classmethod
    def from_json(cls, document: Any) -> Run:
        """The run that JSON types describe.

        Raises
        ------
        InputError
            If they describe none.
        """
        return _from_json(cls, document, RUN_KINDS, {"outcome": OUTCOMES})


def now() -> str:
    """The time as records have it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# What a value of JSON must be; the manifest may hold anything after a crash.
Kinds = dict[str, tuple[type, ...]]
TEXT, MAYBE_TEXT, MAYBE_NUMBER = (str,), (str, type(None)), (float, int, type(None))
MAPPING, LIST = (dict,), (list,)
RECORD_KINDS: Kinds = (
    dict.fromkeys(("case", "state", "run", "attempt", "time", "source"), TEXT)
    | dict.fromkeys(("reason", "traceback", "subject", "session", "contrast"), MAYBE_TEXT)
    | dict.fromkeys(("site", "settings_sha256", "weights_sha256", "worker"), MAYBE_TEXT)
    | dict.fromkeys(("device", "summary", "thumbnail"), MAYBE_TEXT)
    | dict.fromkeys(("source_sha256",), (str, dict, type(None)))
    | dict.fromkeys(("seconds", "peak_memory_bytes"), MAYBE_NUMBER)
    | dict.fromkeys(("outputs", "versions", "metrics", "grid"), MAPPING)
    | dict.fromkeys(("warnings", "references"), LIST)
)
RUN_KINDS: Kinds = (
    dict.fromkeys(("run", "command", "job", "layout", "output", "started"), TEXT)
    | dict.fromkeys(("host", "outcome"), TEXT)
    | dict.fromkeys(("ended", "reason"), MAYBE_TEXT)
    | dict.fromkeys(("pid",), (int,))
    | dict.fromkeys(("workers",), (int, type(None)))
    | dict.fromkeys(("inputs", "cases"), LIST)
    | dict.fromkeys(("settings", "versions", "links"), MAPPING)
)


def _to_json(record: Record | Run) -> dict[str, Any]:
    return {part.name: _plain(getattr(record, part.name)) for part in fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _from_json(
    kind: type[T], document: Any, kinds: Kinds, choices: Mapping[str, tuple[str, ...]]
) -> T:
    name = kind.__name__.lower()
    if not isinstance(document, dict):
        raise InputError(f"no {name}: {type(document).__name__} in place of a mapping")
    known = {key: document[key] for key in kinds if key in document}
    for key, value in known.items():
        if not isinstance(value, kinds[key]):
            raise InputError(f"no {name}: {key} is {type(value).__name__}")
    for key, words in choices.items():
        if known.get(key, words[0]) not in words:
            raise InputError(f"no {name}: {key} is {known[key]!r}, not one of {', '.join(words)}")
    try:
        return kind(**known)
    except TypeError as error:
        raise InputError(f"no {name}: {error}") from error
