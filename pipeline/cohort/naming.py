"""Names: what those of BIDS say and which are asked for, and those of a case's results."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finevox.errors import CohortError, ConfigError
from finevox.pipeline.cohort.case import Carried, Case, Cohort, Layout, name_of, stem_of

Entities = tuple[tuple[str, str], ...]
# Long and short names of entities, from the schema of BIDS 1.11.
SHORT = {
    "subject": "sub",
    "template": "tpl",
    "session": "ses",
    "cohort": "cohort",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acquisition": "acq",
    "nucleus": "nuc",
    "volume": "voi",
    "ceagent": "ce",
    "tracer": "trc",
    "stain": "stain",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "modality": "mod",
    "echo": "echo",
    "flip": "flip",
    "inversion": "inv",
    "mtransfer": "mt",
    "part": "part",
    "processing": "proc",
    "hemisphere": "hemi",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "atlas": "atlas",
    "segmentation": "seg",
    "scale": "scale",
    "resolution": "res",
    "density": "den",
    "label": "label",
    "description": "desc",
}
# Entities whose values are numbers, so that 1 is 01.
INDICES = ("run", "echo", "flip", "inv", "split", "chunk")
# What a filter can ask for beside entities.
PARTS = ("suffix", "datatype", "extension")
# What fMRIPrep adds to queries of these names.
USUAL_QUERIES = {
    "t1w": {"datatype": "anat", "suffix": "T1w"},
    "t2w": {"datatype": "anat", "suffix": "T2w"},
    "flair": {"datatype": "anat", "suffix": "FLAIR"},
    "bold": {"datatype": "func", "suffix": "bold"},
    "sbref": {"datatype": "func", "suffix": "sbref"},
    "dwi": {"datatype": "dwi", "suffix": "dwi"},
    "fmap": {"datatype": "fmap"},
}
ANY = "*"
# What a result is: of higher resolution, or degraded.
Role = Literal["sr", "low"]
# A longer key would make names that file systems refuse once a suffix is added.
KEY_LENGTH = 120


def parse(stem: str) -> tuple[Entities, str] | None:
    """Entities and suffix of a BIDS name without its extension; None if it is none.

    >>> parse("sub-01_acq-thick_T2w")
    ((('sub', '01'), ('acq', 'thick')), 'T2w')
    """
    *words, suffix = stem.split("_")
    pairs = _pairs(words)
    names = [name for name, _ in pairs]
    whole = len(pairs) == len(words) == len(set(names)) and names[:1] == ["sub"]
    return (tuple(pairs), suffix) if whole and suffix.isalnum() else None


def compose(entities: Iterable[tuple[str, str]], suffix: str) -> str:
    """The name that :func:`parse` reads."""
    return "_".join([*(f"{name}-{value}" for name, value in entities), suffix])


@dataclass(frozen=True)
class Query:
    """One query of a BIDS filter: for each entity, by its short name, the values it may have.

    Among the values, None means that the entity must be absent, and ``*`` that any will do.
    """

    name: str
    wanted: Mapping[str, tuple[str | None, ...]]

    @classmethod
    def of(cls, name: str, given: object) -> Query:
        """Read a query.

        Raises
        ------
        ConfigError
            If it has values that a name cannot have.
        """
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"BIDS filter: {name} is {given!r}; it should be entities and their values"
            )
        wanted = {}
        for entity, value in {**USUAL_QUERIES.get(name.lower(), {}), **given}.items():
            short = SHORT.get(entity, entity)
            values = value if isinstance(value, list | tuple) else [value]
            if not values or not all(_is_value(one) for one in values):
                raise ConfigError(
                    f"BIDS filter: {name}.{entity} is {value!r}; it should be a text, a whole "
                    "number, null for none, or a list of these"
                )
            wanted[short] = tuple(None if v is None else _plain(short, str(v)) for v in values)
        return cls(name, wanted)

    @property
    def names_a_kind(self) -> bool:
        """Whether it says what kind of image it wants, so that this need not be in ``anat``."""
        return not self.wanted.keys().isdisjoint(("suffix", "datatype"))

    def check(self, there: Iterable[str]) -> None:
        """Refuse an entity that neither BIDS nor any of the names ``there`` has.

        Raises
        ------
        ConfigError
            Naming the nearest entity.
        """
        known = {*SHORT, *SHORT.values(), *PARTS, *there}
        for entity in self.wanted:
            if entity not in known:
                near = difflib.get_close_matches(entity, known, n=1)
                raise ConfigError(
                    f"BIDS filter: {self.name}.{entity} is no entity of BIDS"
                    + (f"; did you mean {near[0]}?" if near else f"; it has {', '.join(SHORT)}")
                )

    def matches(self, facts: Mapping[str, str]) -> bool:
        """Whether an image of these entities and parts is asked for."""
        for entity, values in self.wanted.items():
            own = None if entity not in facts else _plain(entity, facts[entity])
            if own not in values and (own is None or ANY not in values):
                return False
        return True


def label_entities(stem: str, case: Case) -> tuple[dict[str, str], str]:
    """Entities and suffix that name a label of a case.

    A label named after the image, as ``sub-01_T2w_label-SC_seg``, is no BIDS name: it gets the
    entities of the image, and what else it says goes into ``desc``.
    """
    if (parsed := parse(stem)) is not None:
        return dict(parsed[0]), parsed[1]
    *words, suffix = stem.removeprefix(case.stem + "_").split("_")
    pairs = dict(_pairs(words))
    plain = [word for word in words if "-" not in word]
    desc = "".join(filter(str.isalnum, "".join([case.contrast or "", *plain])))
    return {**dict(case.entities), **pairs, "desc": pairs.get("desc", "") + desc}, suffix


def output_path(case: Case, layout: Layout, role: Role, job: str = "upscale") -> str:
    """The image that a case gives, as a path with slashes below OUTPUT.

    In BIDS it keeps all entities of the source and gets a ``desc`` (``desc-sr``, or
    ``desc-preprocsr`` for a source with ``desc-preproc``), so that no result has a name that a
    raw image may have. Elsewhere folder and name are those of the source; the degraded image of a
    round trip, which has two, gets ``_low``.

    Parameters
    ----------
    case, layout
        The case, and the layout of its cohort.
    role
        ``sr`` or ``low``.
    job
        ``upscale``, ``degrade`` or ``roundtrip``.
    """
    if layout == "bids":
        stem = _described(dict(case.entities), case.contrast or "", role)
    else:
        stem = case.stem + _mark(role, job)
    return name_of(case.folder, stem) + ".nii.gz"


def carried_path(
    case: Case, layout: Layout, role: Role, carried: Carried, job: str = "upscale"
) -> str:
    """A carried label or mask, named as :func:`output_path` names the image of the case."""
    if layout == "bids":
        entities, suffix = label_entities(stem_of(carried.source.name) or "", case)
        stem = _described(entities, suffix, role)
    else:
        stem = f"{case.stem}{_mark(role, job)}_{carried.name}"
    return name_of(case.folder, stem) + ".nii.gz"


def sidecar_of(path: str) -> str:
    """The JSON file beside an image that :func:`output_path` or :func:`carried_path` named."""
    return path.removesuffix(".nii.gz") + ".json"


def case_key(name: str) -> str:
    """A file name for what is kept of a case, such as ``sub-01__anat__sub-01_T1w``.

    Different cases have different keys: a name that could not be read back from its key gets a
    part of its hash.
    """
    key = re.sub(r"[^A-Za-z0-9._-]", "-", name.replace("/", "__"))
    plain = "___" not in key and key.replace("__", "/") == name and not key.startswith(".")
    if plain and len(key) <= KEY_LENGTH:
        return key
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    # No plain key has a tilde.
    return f"{key[:KEY_LENGTH].lstrip('.')}~{digest[:16]}"


def check_outputs(cohort: Cohort, output: Path, job: str) -> None:
    """Refuse a cohort in which two inputs would have one result, or one would be its own.

    Raises
    ------
    CohortError
        Naming both inputs.
    """
    owners: dict[str, Path] = {}
    for path, source in _outputs(cohort, job):
        first = owners.setdefault(path, source)
        if first is not source:
            raise CohortError(
                f"{source}: its result would have the same name, {path}, as that of {first}; "
                "rename one of them, or give them to two runs with outputs of their own"
            )
        if output / path == source:
            raise CohortError(
                f"{source}: its result would take its own place; choose another output folder"
            )


def _outputs(cohort: Cohort, job: str) -> Iterator[tuple[str, Path]]:
    """Every image that a run writes, and the input that it is of."""
    roles: dict[str, tuple[Role, ...]] = {"degrade": ("low",), "roundtrip": ("sr", "low")}
    for case in cohort.cases:
        for role in roles.get(job, ("sr",)):
            yield output_path(case, cohort.layout, role, job), case.source
            for carried in case.carried:
                yield carried_path(case, cohort.layout, role, carried, job), carried.source


def _mark(role: Role, job: str) -> str:
    return "_low" if role == "low" and job != "degrade" else ""


def _described(entities: dict[str, str], suffix: str, role: Role) -> str:
    # Last, as BIDS orders it.
    label = entities.pop("desc", "") + role
    return compose((*entities.items(), ("desc", label)), suffix)


def _pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    pairs = ((name, value) for name, dash, value in (w.partition("-") for w in words) if value)
    return [(name, value) for name, value in pairs if name.isalnum()]


def _is_value(value: object) -> bool:
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _plain(entity: str, value: str) -> str:
    """A value in the one form that is compared."""
    if entity in INDICES and value.isdecimal():
        return str(int(value))
    if entity == "extension":
        return value.lower().removeprefix(".")
    return value.removeprefix(f"{entity}-") if entity in ("sub", "ses") else value
