"""What a paper says of a cohort: the methods in a paragraph and whom to cite, from its records."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from finevox.pipeline.cohort.record import Record
from finevox.workflows.cohort.history import History
from finevox.workflows.cohort.status import mixed_settings, totals, versions
from finevox.workflows.cohort.summary import FEWEST, THRESHOLD, Distribution

LIBRARIES = {
    "monai": "Cardoso et al., MONAI: An open-source framework for deep learning in healthcare, "
    "2022, doi:10.48550/arXiv.2211.02701",
    "torch": "Ansel et al., PyTorch 2: Faster Machine Learning Through Dynamic Python Bytecode "
    "Transformation and Graph Compilation, 2024, doi:10.1145/3620665.3640366",
    "nibabel": "Markiewicz, Brett, Hanke et al., NiBabel, doi:10.5281/zenodo.591597",
    "dask": "Dask Development Team, Dask: Library for dynamic task scheduling, 2016, "
    "http://dask.pydata.org",
}
SPELT = {"python": "Python", "torch": "PyTorch", "monai": "MONAI", "nibabel": "NiBabel",
         "numpy": "NumPy", "scipy": "SciPy", "dask": "Dask"}  # fmt: skip
CONVENTIONS = {
    "fov": "the field of view was kept: the outer faces of the volume stayed where they were",
    "kspace": "the centre of k-space was kept: the sample at index N/2 stayed where it was",
}
# The grid of a round trip is that of its degradation.
DEGRADATIONS: Mapping[Any, str] = {"fov": "bicubic", "kspace": "kspace"}
# Of these the paragraph gives median and quartiles.
REPORTED = ("psnr_db", "ssim", "gain_db", "consistency_db")


def methods_paragraph(history: History, found: Sequence[Distribution]) -> str:
    """The methods, ready to paste, with what failed and what was mixed."""
    done = history.done()
    sentences = [_counted(history)]
    if done:
        sentences += [*_round_trip(history, done), *_how(done), *_grids(done), *_results(found)]
        if mixed_settings(history):
            sentences.append(
                "Not all scans of one contrast were processed with the same settings; the records "
                "of the scans say which had which."
            )
        sentences.append(_software(history))
    return " ".join(sentences)


def citations(history: History) -> list[str]:
    """The literature of the methods, then finevox and the libraries that it stands on."""
    methods = dict.fromkeys(text for own in history.done() for text in own.references)
    used = versions(history).get("finevox", Counter())
    which = ", ".join(sorted(used)) or version("finevox")
    own = f"The finevox developers, finevox: super-resolution of MRI volumes with proven geometry, version {which}"  # fmt: skip # noqa: E501
    return [*methods, own, *(text for text in LIBRARIES.values() if text not in methods)]


def _counted(history: History) -> str:
    counts = totals(history)
    done = history.done()
    text = f"{_number(counts['done'], 'scan')}{_parts(own.contrast for own in done)}"
    if subjects := {own.subject for own in done if own.subject}:
        text += f" of {_number(len(subjects), 'subject')}"
    text += f" {'was' if counts['done'] == 1 else 'were'} processed"
    rest = [f"{counts[state]} {word}" for state, word in (
        ("failed", "failed"), ("running", "being processed"), ("pending", "not processed yet"),
    ) if counts[state]]  # fmt: skip
    if not rest:
        return text + "; none failed."
    return (
        f"{text}, of {counts['cases']} in all ({', '.join(rest)}); no figure includes the others."
    )


def _round_trip(history: History, done: Sequence[Record]) -> Iterable[str]:
    run = history.last_run
    if run is None or run.job != "roundtrip":
        return
    # From the records, for a row of a list may have a degradation of its own.
    kinds = sorted({DEGRADATIONS.get(own.grid.get("convention"), "") for own in done})
    by = f" by {' or '.join(kinds)} degradation" if all(kinds) else ""
    yield (
        f"Each scan was reduced in resolution{by}, enlarged again and compared with the original."
    )


def _how(done: Sequence[Record]) -> Iterable[str]:
    groups = Counter(
        (own.summary or "Processed", own.weights_sha256, own.grid.get("convention")) for own in done
    )
    for (summary, weights, convention), count in groups.most_common():
        notes = [] if len(groups) == 1 else [_number(count, "scan")]
        if weights:
            notes.append(f"weights with SHA-256 {weights}")
        text = summary + (f" ({'; '.join(notes)})" if notes else "")
        if convention in CONVENTIONS:
            text += f"; {CONVENTIONS[convention]}"
        yield text + "."


def _grids(done: Sequence[Record]) -> Iterable[str]:
    old = _median_spacing(own.grid.get("source_spacing_mm") for own in done)
    new = _median_spacing(own.grid.get("spacing_mm") for own in done)
    if old and new:
        yield f"The median sample spacing went from {old} to {new} mm."


def _median_spacing(spacings: Iterable[Sequence[float] | None]) -> str | None:
    axes = list(zip(*(own for own in spacings if own), strict=False))
    return " x ".join(f"{statistics.median(axis):.3g}" for axis in axes) or None


def _results(found: Sequence[Distribution]) -> Iterable[str]:
    own = {one.metric.key: one for one in found}
    parts = []
    for key in REPORTED:
        if key in own:
            metric, lane = own[key].metric, own[key].overall
            low, median, high = lane.quartiles
            parts.append(
                f"{metric.name} ({metric.note}) {metric.with_unit(median)} "
                f"[{metric.shown(low)}, {metric.shown(high)}], n = {len(lane.values)}"
            )
    if parts:
        yield f"Median [quartiles] over scans: {'; '.join(parts)}."
    if strange := {value.case for one in found for value in one.outliers}:
        yield (
            f"{_number(len(strange), 'scan')} stood out in at least one figure (robust z score "
            f"beyond {THRESHOLD} within groups of {FEWEST} scans or more) and "
            f"{'was' if len(strange) == 1 else 'were'} not excluded."
        )


def _software(history: History) -> str:
    names = versions(history)
    # Dask is of the run, not of a scan.
    for run in history.runs:
        for name, own in run.versions.items():
            if name in SPELT and name not in versions(history):
                names.setdefault(name, Counter())[str(own)] += 1
    finevox = " and ".join(sorted(names.get("finevox", {version("finevox")})))
    others = ", ".join(
        f"{SPELT[name]} {' and '.join(sorted(names[name]))}" for name in SPELT if name in names
    )
    return f"Software: finevox {finevox}" + (f" with {others}." if others else ".")


def _parts(contrasts: Iterable[str | None]) -> str:
    counts = Counter(own for own in contrasts if own)
    if not counts:
        return ""
    return f" ({', '.join(f'{count} {name}' for name, count in sorted(counts.items()))})"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
