"""What a recipe of a network that is learnt in one go says, and how it is read."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

from finevox.errors import ConfigError
from finevox.pipeline.recipes import find_recipe, read_yaml
from finevox.pipeline.settings import is_whole
from finevox.transforms.resize import DEFAULT_DEGRADATION, Degradation, convention_of


@dataclass(frozen=True)
class Recipe:
    """What the recipes of all networks have in common.

    ``training`` and ``validation`` are subjects of the BIDS folder, ``single_plane`` patterns of
    file names that are used in the plane of their slices only, ``settings`` the network's own,
    ``data`` and ``licence`` what the weights will say of themselves.
    """

    # Settings that are whole numbers, and the least they can be; and those above zero.
    WHOLE: ClassVar[Mapping[str, int]] = {"scale": 2, "seed": 0}
    ABOVE_ZERO: ClassVar[tuple[str, ...]] = ()

    network: str
    scale: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    data: str
    licence: str
    single_plane: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    degradation: Degradation = DEFAULT_DEGRADATION

    def __post_init__(self) -> None:
        for name, least in self.WHOLE.items():
            if not is_whole(value := getattr(self, name), least):
                raise ConfigError(f"{name} {value!r}: give a whole number of {least} or more")
        for name in self.ABOVE_ZERO:
            if not isinstance(value := getattr(self, name), Real) or float(value) <= 0:
                raise ConfigError(f"{name} {value!r}: give a number above zero, such as 1.0e-3")
        for name in ("training", "validation"):
            if not isinstance(value := getattr(self, name), tuple) or not value:
                raise ConfigError(f"{name} {value!r}: give a list of subjects")
        if both := set(self.training) & set(self.validation):
            raise ConfigError(f"subjects both in training and validation: {', '.join(both)}")

    @classmethod
    def from_yaml(cls, config: str | Path) -> Self:
        """Read a recipe from a file, or one that ships by its name.

        Raises
        ------
        ConfigError
            If there is no such file, or it has unknown or missing keys.
        """
        content = read_yaml(find_recipe(config))
        known = {field.name for field in dataclasses.fields(cls)}
        for key in content.keys() - known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"{config}: unknown key {key!r}{hint}")
        lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        try:
            return cls(**{**content, **lists})
        except TypeError as error:
            raise ConfigError(f"{config}: {error}") from error

    def record(self) -> dict[str, Any]:
        """What the weights say of how they were made."""
        return {
            "convention": convention_of(self.degradation),
            "degradation": self.degradation,
            "data": self.data,
            "subjects": list(self.training),
            "licence": self.licence,
        }

    def weights_path(self, output: Path) -> Path:
        """Where the weights go."""
        return output / f"{self.network}_2d_x{self.scale}_{self.degradation}.safetensors"
