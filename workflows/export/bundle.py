"""A MONAI bundle of weights: a folder that runs wherever finevox is installed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from finevox.errors import InputError
from finevox.networks import Network, load, save
from finevox.workflows.export.card import card, card_path, title

CONFIG, METADATA = Path("configs/inference.yaml"), Path("configs/metadata.json")
WEIGHTS, STATE = Path("models/model.safetensors"), Path("models/model.pt")
README, CARD, LICENSE = Path("docs/README.md"), Path("docs/model_card.md"), Path("LICENSE")

CONFIG_HEADER = """\
# One scan to higher resolution:
#   python -m monai.bundle run --config_file BUNDLE/configs/inference.yaml --bundle_root BUNDLE \\
#       --image scan.nii.gz --output fine.nii.gz
"""
HOW_TO_RUN = """
## How to run

```
pip install {requirement}
python -m monai.bundle run --config_file BUNDLE/configs/inference.yaml --bundle_root BUNDLE \\
    --image scan.nii.gz --output fine.nii.gz
```

`BUNDLE` is this folder. `--axes [0,2]` chooses the axes to enlarge, `--overwrite true` replaces
an existing result. `finevox upscale scan.nii.gz fine.nii.gz --weights BUNDLE/{weights}` does the
same. `{state}` holds the tensors alone, in the form that runs.
"""
LICENCE_TEXT = """\
The weights in models/ are licensed under: {licence}
Data that they were trained on: {data}

The configuration in configs/ is part of finevox, licensed under the Apache License, Version 2.0:
http://www.apache.org/licenses/LICENSE-2.0
"""


def write_bundle(
    network: Network, folder: Path, *, source: Path | None = None, overwrite: bool = False
) -> None:
    """Write the folder, whole or not at all.

    Parameters
    ----------
    network
        With a complete record (:mod:`finevox.networks.record`).
    source
        The file that the weights come from; a model card beside it goes into the bundle.
    overwrite
        Whether an older bundle may be replaced. Another folder never is.

    Raises
    ------
    InputError
        If there is something at ``folder``, or it cannot be written.
    """
    check_folder(folder, overwrite=overwrite)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name[:40]}.", dir=folder.parent) as name:
            new = Path(name) / "bundle"
            _fill(new, network.inference_form(), source)
            if folder.exists():
                folder.rename(Path(name) / "old")
            new.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a bundle can be written.

    Raises
    ------
    InputError
        If the folder around it is missing, or something is there that may not be replaced.
    """
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: the folder {folder.parent} does not exist; make it first")
    if not folder.exists():
        return
    if not overwrite:
        raise InputError(f"{folder}: exists already; choose another name or give --overwrite")
    if not (folder / METADATA).is_file():
        raise InputError(f"{folder}: no MONAI bundle, so it is not replaced; choose another name")


def _fill(folder: Path, network: Network, source: Path | None) -> None:
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    save(network, folder / WEIGHTS, network.record)
    saved = load(folder / WEIGHTS, in_channels=1)
    torch.save(saved.state_dict(), folder / STATE)
    (folder / CONFIG).write_text(CONFIG_HEADER + _config(saved), encoding="utf-8")
    (folder / METADATA).write_text(json.dumps(_metadata(saved), indent=2) + "\n", encoding="utf-8")
    how = HOW_TO_RUN.format(
        requirement=f"finevox=={version('finevox')}", weights=WEIGHTS, state=STATE
    )
    (folder / README).write_text(card(saved, folder / WEIGHTS) + how, encoding="utf-8")
    licence = LICENCE_TEXT.format(licence=saved.record["licence"], data=saved.record["data"])
    (folder / LICENSE).write_text(licence, encoding="utf-8")
    if source is not None and card_path(source).is_file():
        shutil.copyfile(card_path(source), folder / CARD)


def _config(network: Network) -> str:
    """The shipped configuration, told to take the bundle's weights."""
    volume = network.settings["spatial_dims"] == 3
    own = {
        "scale": network.settings["scale"],
        "axes": [0, 1, 2] if volume else "auto",
        "network_name": "auto",
        "weights": f"$@bundle_root + '/{WEIGHTS}'",
        "degradation": network.record["degradation"],
    }
    shipped = yaml.safe_load((resources.files("finevox.configs") / CONFIG.name).read_text("utf-8"))
    return yaml.safe_dump({**shipped, **own}, sort_keys=False, allow_unicode=True)


def _metadata(network: Network) -> Mapping[str, Any]:
    """The shipped metadata with what these weights say of themselves."""
    text = (resources.files("finevox.configs") / METADATA.name).read_text("utf-8")
    shipped: dict[str, Any] = json.loads(text)
    required = [*shipped["required_packages_version"], "finevox"]
    return {
        **shipped,
        "name": f"finevox {title(network)}",
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in required},
        "description": f"MRI super-resolution: {title(network)}",
        "data_source": network.record["data"],
        "references": [network.spec.reference],
        "finevox": network.record,
    }
