"""Make docs/networks.md and its figure from the table of architectures: ``make docs``."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from finevox.networks import ARCHITECTURES, DISCRIMINATORS, ArchSpec, create, shipped

HERE = Path(__file__).parent
TEMPLATE, PAGE, FIGURE = HERE / "networks.in.md", HERE / "networks.md", HERE / "networks.png"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str]) -> str:
    """A Markdown table; the columns named in ``right`` are aligned to the right."""
    rule = ["---:" if heading in right else "---" for heading in headings]
    lines = [headings, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: int) -> str:
    """With separators; nothing to train and nothing to multiply is a dash."""
    return f"{value:,}" if value else "-"


def giga(value: int) -> str:
    """Multiply-adds in thousands of millions."""
    return f"{value / 1e9:.2f} G" if value else "-"


def parameters(name: str, spatial_dims: int) -> int:
    """Numbers of the form that inference runs, at x2, built without memory."""
    with torch.device("meta"):
        form = create(name, spatial_dims).inference_form()
    return sum(p.numel() for p in form.parameters())


def reference(spec: ArchSpec) -> str:
    """The paper, linked where it has a DOI."""
    # Brackets and spaces end a Markdown link early.
    doi = spec.doi.replace("(", "%28").replace(")", "%29").replace("<", "%3C").replace(">", "%3E")
    return f"[{spec.titled}](https://doi.org/{doi})" if doi else spec.titled


def methods() -> str:
    """Everything that enlarges."""
    weights = {name: [own for own in shipped() if own.network == name] for name in ARCHITECTURES}
    headings = (
        "name", "paper", "kind", "input", "scales", "dimensions", "parameters",
        "mult-adds", "field", "weights", "fidelity", "licence of reference",
    )  # fmt: skip
    rows = []
    for name, spec in ARCHITECTURES.items():
        rows.append(
            (
                f"`{name}`",
                reference(spec),
                spec.kind,
                spec.takes,
                " ".join(map(str, spec.scales)),
                " ".join(f"{dims}-D" for dims in spec.spatial_dims),
                number(spec.parameters),
                giga(spec.mult_adds),
                spec.field_text,
                "<br>".join(own.summary for own in weights[name]) or "-",
                "interpretation" if spec.interpretation else "as published",
                f"{spec.licence} ({spec.source})" if spec.source else "-",
            )
        )
    return table(headings, rows, ("parameters", "mult-adds", "field"))


def volumes() -> str:
    """Parameters in two and three dimensions."""
    names = [
        name
        for name, spec in ARCHITECTURES.items()
        if not spec.classical and 3 in spec.spatial_dims
    ]
    rows = [(f"`{n}`", number(parameters(n, 2)), number(parameters(n, 3))) for n in names]
    headings = ("name", "2-D parameters", "3-D parameters")
    return table(headings, rows, headings[1:])


def interpretations() -> str:
    """What is not known of a network, and what was chosen."""
    marked = [spec for spec in ARCHITECTURES.values() if spec.interpretation]
    return "\n".join(f"- **`{spec.name}`**: {spec.interpretation}" for spec in marked)


def discriminators() -> str:
    """What judges images."""
    rows = [
        (f"`{name}`", reference(spec), number(spec.parameters), giga(spec.mult_adds))
        for name, spec in DISCRIMINATORS.items()
    ]
    return table(("name", "paper", "parameters", "mult-adds"), rows, ("parameters", "mult-adds"))


def page() -> str:
    """The text of docs/networks.md."""
    text = TEMPLATE.read_text(encoding="utf-8")
    for part in (methods, volumes, interpretations, discriminators):
        text = text.replace("{{" + part.__name__ + "}}", part())
    return text.replace("{{figure}}", FIGURE.name)


def label(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write a name beside each point, where it covers nothing and is nearest to its own point."""
    figure = axes.get_figure(root=True)
    # Only then is it settled where the points lie, in pixels.
    figure.draw_without_rendering()
    pixels = axes.transData.transform([*points.values()])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in pixels]
    places = [
        (distance * across, distance * up, side)
        for distance in (5, 9, 14, 20, 27, 35)
        for across, side in ((1, "left"), (-1, "right"))
        for up in (0.6, -0.6, 0, 1.2, -1.2, 1.8, -1.8)
    ]
    for (name, point), own in zip(points.items(), pixels, strict=True):
        for across, up, side in places:
            begin = own + np.array([across, up]) * figure.dpi / 72
            # Points that lie on one another may share a place.
            if math.dist(begin, own) > np.linalg.norm(pixels - begin, axis=1).min() + 3:
                continue
            text = axes.annotate(
                name,
                point,
                xytext=(across, up),
                textcoords="offset points",
                horizontalalignment=side,
                verticalalignment="center",
                fontsize=8,
                arrowprops={"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
            )
            # The first call puts the words in their place; the second leaves out the line.
            text.get_window_extent()
            box = Text.get_window_extent(text)
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and box.y1 < axes.bbox.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def draw() -> None:
    """Parameters against multiply-adds, both axes logarithmic."""
    specs = [spec for spec in ARCHITECTURES.values() if spec.mult_adds]
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(spec.kind for spec in specs):
        own = [spec for spec in specs if spec.kind == kind]
        axes.scatter(
            [spec.mult_adds / 1e9 for spec in own],
            [spec.parameters / 1e6 for spec in own],
            label=kind,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="multiply-adds, 120x120 to 240x240, thousand millions",
        ylabel="parameters, millions",
    )
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend()
    label(axes, {spec.name: (spec.mult_adds / 1e9, spec.parameters / 1e6) for spec in specs})
    # Without the date and version that would make every run another file.
    figure.savefig(FIGURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    draw()
    sys.stdout.write(f"{PAGE}\n{FIGURE}\n")
