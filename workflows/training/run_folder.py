"""The folder of a run: what it was asked, on what machine, with whom, and all that came of it."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from finevox.errors import ConfigError
from finevox.pipeline.provenance import command_line
from finevox.pipeline.recipes import read_yaml
from finevox.pipeline.train_settings import TrainSettings
from finevox.pipeline.write import write_json, write_text
from finevox.workflows.training.checkpoint import LAST, completed, differences
from finevox.workflows.training.curves import CURVE

PACKAGES = (
    "finevox", "torch", "monai", "pytorch-ignite", "torchio", "numpy", "scipy", "nibabel",
)  # fmt: skip


class RunFolder:
    """Where everything of a run lies.

    ``recipe.yaml`` (every setting), ``environment.json`` (of every start), ``split.tsv``,
    ``train.log``, ``curve.csv``, ``tensorboard``, ``images``,
    ``checkpoints``, and the weights with their card.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.environment = path / "environment.json"
        self.split = path / "split.tsv"
        self.log = path / "train.log"
        self.curve = path / CURVE
        self.tensorboard = path / "tensorboard"
        self.images = path / "images"
        self.checkpoints = path / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return (self.checkpoints / LAST).exists()

    def check(self, settings: TrainSettings, free: Collection[str], *, resume: bool) -> None:
        """Refuse to write over another run, before anything is read.

        Raises
        ------
        ConfigError
            If the folder holds a run of another recipe, or one to go on with and ``resume`` does
            not say so, or cannot be used.
        """
        if self.recipe.exists():
            # Through YAML and back, so that both have its types.
            asked = yaml.safe_load(yaml.safe_dump(settings.as_dict()))
            if others := differences(completed(read_yaml(self.recipe)), asked, free):
                raise ConfigError(
                    f"{self.path}: holds a run of another recipe, which differs in "
                    f"{', '.join(others)}; choose another output folder"
                )
        if self.has_checkpoint and not resume:
            raise ConfigError(
                f"{self.path}: holds a run already; add --resume to go on with it, or choose "
                "another output folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be a folder ({error.strerror})") from error

    def describe(self, settings: TrainSettings, device: torch.device) -> None:
        """Write the recipe with all of its settings, and where and how this was started."""
        text = yaml.safe_dump(settings.as_dict(), sort_keys=False, allow_unicode=True)
        write_text(text, self.recipe)
        starts = []
        if self.has_checkpoint and self.environment.exists():
            starts = json.loads(self.environment.read_text(encoding="utf-8"))["starts"]
        write_json({"starts": [*starts, environment(device)]}, self.environment)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Lines of finevox's log go to ``train.log`` as well."""
        handler = logging.FileHandler(self.log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root = logging.getLogger("finevox")
        level = root.level
        # A library says nothing of what goes well unless asked; this file is asked for.
        root.setLevel(min(root.getEffectiveLevel(), logging.INFO))
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            handler.close()


def environment(device: torch.device) -> dict[str, Any]:
    """Machine, versions and command of this process."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": gpu,
        "cuda": torch.version.cuda,
        "packages": {name: installed(name) for name in PACKAGES},
    }


def installed(name: str) -> str | None:
    """The version of a package, if it is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
