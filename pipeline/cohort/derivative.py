"""A BIDS derivative: what its folder says of itself, of each image and of all of them.

This module writes the files at the root; :mod:`finevox.pipeline.cohort.metadata` makes the sidecars
and :mod:`finevox.pipeline.cohort.group` the table.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from finevox.errors import CohortError
from finevox.pipeline.cohort.case import PRIVATE
from finevox.pipeline.cohort.group import GROUP_NAME, group_table, write_group
from finevox.pipeline.cohort.metadata import GENERATOR, RAW, bids_sidecar, source_metadata
from finevox.pipeline.files import make_folders, write_json, write_text

__all__ = [
    "bids_sidecar",
    "dataset_description",
    "dataset_links",
    "group_table",
    "prepare_dataset",
    "source_metadata",
    "write_group",
]

log = logging.getLogger(__name__)

# Of the specification that names and metadata follow.
BIDS_VERSION = "1.11.1"
DESCRIPTION = "dataset_description.json"

NAMES = {
    "upscale": "MRI at enhanced resolution",
    "degrade": "MRI at reduced resolution",
    "roundtrip": "MRI at reduced resolution and restored",
}
# What jobs put into names, and what that means.
ROLES = {"upscale": ("sr",), "degrade": ("low",), "roundtrip": ("low", "sr")}
LABELS = {
    "sr": "Resolution enhanced, or carried to that grid; longer labels that end so had the rest "
    "of it in their source; sidecars say by which method, how far and along which axes",
    "low": "Resolution reduced, or carried to that grid; longer labels that end so had the rest "
    "of it in their source; sidecars say by which degradation, how far and along which axes",
}
LABELS_SIDECAR = {"Description": "What the values of desc in the names of images mean"}
IGNORED = (f"{PRIVATE}/", "*.html", "logs/", f"{GROUP_NAME}.*")

README = """# {name}

Made by finevox {version} from the dataset that `DatasetLinks` in `dataset_description.json` names.

- `sub-*/`: images under the names of their sources with `desc-sr` (resolution enhanced) or
  `desc-low` (resolution reduced). The JSON file beside each says how it was made, from which file,
  and what its grid is; it holds the metadata of the source except what the new grid made untrue.
- `descriptions.tsv`: the values of `desc`.
- `{group}.tsv`: one row for each scan with its state and its figures; `{group}.json`
  explains the columns.
- `{private}/manifest.jsonl`: one line for each attempt at a scan, failures too.

Detail in an image of enhanced resolution is estimated, not measured.
"""


def dataset_links(output: Path, root: Path, layout: str) -> dict[str, str]:
    """Where the datasets are that BIDS URIs in an output name: ``raw``, the input.

    The place is relative to the output where both are in one tree, so that the tree can move; a
    file URI otherwise. There is none for other layouts than ``bids``.
    """
    if layout != "bids":
        return {}
    target, start = root.resolve(), output.resolve()
    try:
        shared = Path(os.path.commonpath([target, start]))
    except ValueError:  # two drives
        return {RAW: target.as_uri()}
    if shared == Path(shared.anchor):
        return {RAW: target.as_uri()}
    return {RAW: quote(Path(os.path.relpath(target, start)).as_posix(), safe="/+")}


def dataset_description(links: Mapping[str, str], job: str) -> dict[str, Any]:
    """The content of ``dataset_description.json``.

    Parameters
    ----------
    links
        As :func:`dataset_links` gives them.
    job
        ``upscale``, ``degrade`` or ``roundtrip``.
    """
    generator = {
        "Name": GENERATOR,
        "Version": version(GENERATOR),
        "Description": metadata(GENERATOR)["Summary"],
    }
    if (url := _code_url()) is not None:
        generator["CodeURL"] = url
    return {
        "Name": NAMES[job],
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generator],
        "DatasetLinks": dict(links),
        "SourceDatasets": [{"URL": url} for url in links.values()],
    }


def prepare_dataset(output: Path, root: Path, layout: str, job: str) -> dict[str, str]:
    """Make an output a BIDS derivative, before anything else is written to it.

    What is there stays: a description that finevox made is brought up to date and keeps what was
    added to it, lists get the lines that they lack, a README is left alone. Nothing is written
    for other layouts than ``bids``.

    Returns
    -------
    dict
        The links, as :func:`dataset_links`.

    Raises
    ------
    CohortError
        If the output is the input, another pipeline's dataset, or made from another input.
    InputError
        If a file cannot be written.
    """
    links = dataset_links(output, root, layout)
    if not links:
        return links
    if output.resolve() == root.resolve():
        raise CohortError(f"{output}: is the input itself; give another folder for the results")
    there = _description(output / DESCRIPTION)
    if there is not None:
        _check_own(output, there, root)
    if output.parent.name == "derivatives" and GENERATOR not in output.name:
        log.warning(
            "%s: BIDS wants %s in the name of a folder in derivatives/ that finevox makes",
            output,
            GENERATOR,
        )
    make_folders(output)
    description = _merged(there or {}, dataset_description(links, job))
    if description != there:
        write_json(description, output / DESCRIPTION)
    described = {f"desc-{role}": f"desc-{role}\t{LABELS[role]}" for role in ROLES[job]}
    _complete(output / "descriptions.tsv", {"desc_id": "desc_id\tdescription", **described})
    if not (output / "descriptions.json").exists():
        write_json(LABELS_SIDECAR, output / "descriptions.json")
    _complete(output / ".bidsignore", {pattern: pattern for pattern in IGNORED})
    if not any(output.glob("README*")):
        facts = {"version": version(GENERATOR), "group": GROUP_NAME, "private": PRIVATE}
        write_text(README.format(name=NAMES[job], **facts), output / "README.md")
    return links


def _description(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CohortError(
            f"{path}: cannot be read ({error}), so whose dataset this is cannot be told; give "
            "another folder for the results"
        ) from error
    return document if isinstance(document, dict) else {}


def _check_own(output: Path, there: Mapping[str, Any], root: Path) -> None:
    makers = [maker.get("Name") for maker in _generators(there)]
    if GENERATOR not in makers:
        whose = ", ".join(map(str, makers)) or "no pipeline: it seems to be a raw dataset"
        raise CohortError(
            f"{output / DESCRIPTION}: made by {whose}; finevox adds to its own datasets only: "
            "give another folder for the results"
        )
    link = _linked(there)
    before = None if link is None else output / unquote(link.removeprefix("file://"))
    # A dataset that has moved since is none to be mixed up with.
    if before is not None and before.is_dir() and before.resolve() != root.resolve():
        raise CohortError(
            f"{output / DESCRIPTION}: holds results of {before.resolve()}, and its sidecars name "
            f"their sources in there, not in {root}; give another folder for the results"
        )


def _merged(there: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The description that is there, with what this version and this run say of it."""
    own_link, old_link = ours["DatasetLinks"][RAW], _linked(there)
    sources = there.get("SourceDatasets") or []
    if own_link not in [source.get("URL") for source in sources]:
        others = [source for source in sources if source.get("URL") != old_link]
        sources = [*ours["SourceDatasets"], *others]
    others = [maker for maker in _generators(there) if maker.get("Name") != GENERATOR]
    return {
        **ours,
        **there,
        "BIDSVersion": ours["BIDSVersion"],
        "GeneratedBy": [*ours["GeneratedBy"], *others],
        "DatasetLinks": {**there.get("DatasetLinks", {}), **ours["DatasetLinks"]},
        "SourceDatasets": sources,
    }


def _generators(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    makers = description.get("GeneratedBy")
    makers = makers if isinstance(makers, list) else []
    return [maker for maker in makers if isinstance(maker, dict)]


def _linked(description: Mapping[str, Any]) -> str | None:
    links = description.get("DatasetLinks")
    return links.get(RAW) if isinstance(links, dict) else None


def _complete(path: Path, wanted: Mapping[str, str]) -> None:
    """Add the lines of ``wanted`` whose first cell, its key, a file does not have yet."""
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
    there = {line.partition("\t")[0] for line in lines}
    if missing := [line for key, line in wanted.items() if key not in there]:
        write_text("\n".join([*lines, *missing]) + "\n", path)


def _code_url() -> str | None:
    """Where the package says that its source is."""
    for entry in metadata(GENERATOR).get_all("Project-URL") or ():
        label, _, url = entry.partition(",")
        if label.strip().lower() in ("source", "repository", "code", "homepage"):
            return str(url.strip())
    return None
