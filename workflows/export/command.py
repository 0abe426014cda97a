"""``finevox export``: weights of any origin in the form that others take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from finevox.errors import CheckpointError, InputError
from finevox.networks import Network, load, named_weights, save
from finevox.pipeline.write import atomically
from finevox.transforms.resize import convention_of
from finevox.workflows.export.bundle import check_folder, write_bundle
from finevox.workflows.export.card import card_path, write_card
from finevox.workflows.export.onnx import write_onnx

Format = Literal["safetensors", "bundle", "onnx"]

# What weights have to say of themselves; the grid convention follows from the degradation.
TOLD = ("degradation", "data", "licence")


def export_weights(
    weights: str | Path,
    output: Path,
    kind: Format = "safetensors",
    *,
    network: str | None = None,
    scale: int | tuple[int, ...] | None = None,
    told: Mapping[str, str | None] | None = None,
    inference_form: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write weights in another form.

    Parameters
    ----------
    weights
        A file, or the name of weights that ship.
    output
        A file, or for a bundle its folder. Safetensors get a model card beside them.
    network, scale
        Of a checkpoint whose keys do not tell.
    told
        ``degradation``, ``data`` and ``licence`` of weights that have no record.
    inference_form
        Fold a network that trains in another form than it runs in; bundles and ONNX always
        hold the form to run.
    overwrite
        Whether what is there may be replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CheckpointError
        If the weights cannot be loaded or exported.
    InputError
        If something is there already, or cannot be written.
    """
    if kind == "bundle":
        check_folder(output, overwrite=overwrite)
    else:
        _check_file(output, f".{kind}", overwrite=overwrite)
    path = named_weights(weights)
    settings: dict[str, Any] = {} if scale is None else {"scale": scale}
    model = load(path, network, in_channels=1, **settings)
    model.record = completed(model.record, told or {}, path, needed=kind != "onnx")
    if kind == "onnx":
        write_onnx(model, output)
        return [output]
    if kind == "bundle":
        write_bundle(model, output, source=path, overwrite=overwrite)
        return [output]
    form = model.inference_form() if inference_form else model
    _save(form, output, model.record)
    return [output, write_card(output)]


def completed(
    record: Mapping[str, Any], told: Mapping[str, str | None], path: Path, *, needed: bool = True
) -> dict[str, Any]:
    """The record of weights with what the user tells of them.

    Raises
    ------
    CheckpointError
        If that contradicts the record, or something is ``needed`` and not known.
    """
    given = {key: value for key, value in told.items() if value is not None}
    for key, value in given.items():
        if record.get(key, value) != value:
            raise CheckpointError(
                f"{path}: the record says {key} {record[key]!r}, not {value!r}; leave out --{key}"
            )
    full = {**record, **given}
    missing = [key for key in TOLD if key not in full]
    if missing and needed:
        options = ", ".join(f"--{key}" for key in missing)
        raise CheckpointError(f"{path}: the file does not say its {', '.join(missing)}; {options}")
    if "degradation" in full:
        full.setdefault("convention", convention_of(full["degradation"]))
    return full


def _save(network: Network, path: Path, record: Mapping[str, Any]) -> None:
    atomically(path, path.suffix, lambda name: save(network, Path(name), record))


def _check_file(path: Path, suffix: str, *, overwrite: bool) -> None:
    if path.suffix != suffix:
        raise InputError(f"{path}: give a name that ends in {suffix}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; choose another name")
    targets = [path, card_path(path)] if suffix == ".safetensors" else [path]
    there = [target for target in targets if target.exists()]
    if there and not overwrite:
        raise InputError(f"{there[0]}: exists already; choose another name or give --overwrite")
