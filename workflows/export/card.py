"""Model cards: what weights are, what made them and what they are not for, beside their file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finevox.networks import Network, load
from finevox.pipeline.write import write_text
from finevox.transforms.grid import scale_text
from finevox.transforms.intensity import NEIGHBOURHOOD, PERCENTILES

DEGRADATIONS = {
    "bicubic": "bicubic with antialiasing (MATLAB `imresize`)",
    "kspace": "k-space truncation: the centre of the DFT at unchanged amplitude",
}
LIMITS = (
    "Organs, contrasts and degradations that it was not trained on need other weights.",
    "The degradation is a model: a scan acquired at low resolution has noise and blur of its own.",
    "Not a medical device.",
)
# Entries of a record that have a place of their own in a card.
PLACED = (
    "architecture",
    "settings",
    "convention",
    "degradation",
    "data",
    "subjects",
    "licence",
    "image_range",
    "validation_gain_db",
    "training",
    "figures",
    "limits",
)
# Settings that every network has.
COMMON = ("spatial_dims", "scale", "in_channels")

Rows = Sequence[Mapping[str, Any]]


def card_path(weights: Path) -> Path:
    """The card of a file of weights: ``a.safetensors`` has ``a.md``."""
    return weights.with_suffix(".md")


def write_card(
    weights: Path,
    *,
    training: Mapping[str, Any] | None = None,
    figures: Rows | None = None,
    limits: Sequence[str] | None = None,
) -> Path:
    """Write the card of a file of weights beside it, in the place of an older one.

    Everything that the record of the file says is in the card. What is not given is the entry
    of that name in the record, so that a record which has them makes the same card wherever the
    weights are exported to.

    Parameters
    ----------
    weights
        A file that :func:`finevox.networks.save` wrote.
    training
        Settings of the training, such as a recipe (``TrainSettings.as_dict()``), nested as they
        are.
    figures
        Rows of a table of results, each with the same keys.
    limits
        Sentences, besides those that hold for all weights.

    Returns
    -------
    Path
        The card.

    Raises
    ------
    CheckpointError
        If the weights cannot be loaded.
    InputError
        If the card cannot be written.
    """
    network, path = load(weights), card_path(weights)
    write_text(card(network, weights, training=training, figures=figures, limits=limits), path)
    return path


def card(
    network: Network,
    weights: Path,
    *,
    training: Mapping[str, Any] | None = None,
    figures: Rows | None = None,
    limits: Sequence[str] | None = None,
) -> str:
    """The text of a card; see :func:`write_card`."""
    record = network.record
    training = record.get("training", {}) if training is None else training
    figures = record.get("figures", ()) if figures is None else figures
    limits = record.get("limits", ()) if limits is None else limits
    parts = [
        f"# {title(network)}",
        _table(("", ""), _facts(network, weights)),
        "## Data",
        _text(record.get("data", "The file does not say.")),
        f"Subjects trained on: {', '.join(map(str, record.get('subjects', ()))) or 'not named'}.",
        "## Training",
        _table(("setting", "value"), _rows({**_others(record), **training})),
        "## Quality",
        *_quality(record, figures),
        "## Limits",
        "\n".join(f"- {_text(sentence)}" for sentence in (*limits, *LIMITS)),
    ]
    return "\n\n".join(parts) + "\n"


def title(network: Network) -> str:
    """What the weights are in a few words, such as ``fmen, 2-D, x2, bicubic``."""
    dims, scale = network.settings["spatial_dims"], network.settings["scale"]
    degradation = network.record.get("degradation", "degradation not known")
    return f"{network.spec.name}, {dims}-D, x{scale_text(scale)}, {degradation}"


def task(network: Network) -> str:
    """What it does to an image."""
    what = {2: "slices, enlarged in their plane by", 3: "volumes, enlarged by"}
    dims = network.settings["spatial_dims"]
    held = " or ".join("x".join(map(str, factors)) for factors in network.scales)
    return f"{what[dims]} {held}"


def _facts(network: Network, weights: Path) -> list[tuple[str, str]]:
    """The table at the top."""
    record, spec = network.record, network.spec
    own = {key: value for key, value in network.settings.items() if key not in COMMON}
    count = sum(parameter.numel() for parameter in network.parameters())
    degradation = str(record.get("degradation"))
    grid = f"; grid convention `{record.get('convention')}`"
    before = "" if spec.takes == "low" else ", enlarged by interpolation before"
    low, high = PERCENTILES
    channels = network.settings["in_channels"]
    white = network.image_range
    scaled = (
        f"the {low:g} percentile of the volume averaged over {NEIGHBOURHOOD} voxels each way "
        f"and the {high:g} percentile of the volume scaled to 0 and {white:g}"
    )
    return [
        ("network", f"{spec.name}: {spec.reference}; {count:,} parameters"),
        ("settings", json.dumps(own) if own else "as published"),
        ("task", task(network)),
        ("degradation", DEGRADATIONS.get(degradation, degradation) + grid),
        ("input", f"channels: {channels}{before}; {scaled}"),
        ("file", f"`{weights.name}`, {weights.stat().st_size / 1e6:.1f} MB"),
        ("SHA-256", f"`{network.sha256}`"),
        ("licence of the weights", _text(record.get("licence"))),
    ]


def _quality(record: Mapping[str, Any], figures: Rows) -> list[str]:
    parts = []
    if (gain := record.get("validation_gain_db")) is not None:
        parts.append(f"Mean gain over interpolation on the validation subjects: {gain:+.2f} dB.")
    if figures:
        headings = list(figures[0])
        parts.append(_table(headings, [[_number(row[key]) for key in headings] for row in figures]))
    return parts or ["No figures are recorded."]


def _others(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says besides the entries that have their place."""
    return {key: value for key, value in record.items() if key not in PLACED}


def _rows(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names and values."""
    rows = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            rows += _rows(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)))
    return rows


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "The file does not say."
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _text(value: Any) -> str:
    """A value on one line, without what would end a cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
