"""``finevox demo``: the MNI152 brain degraded, restored and compared, with a picture.

The volume is the ICBM 152 nonlinear 2009 average that comes inside nilearn; the weights have
never seen it. Every step is the workflow that the commands run.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from finevox.errors import InputError
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
from finevox.workflows.compare import compare_images
from finevox.workflows.loading import loading
from finevox.workflows.picture import draw_comparison

if TYPE_CHECKING:
    from finevox.workflows.volume import VolumeWorkflow

log = logging.getLogger(__name__)

SCALE = 2
# Axial slices. Said rather than left to "auto": once their resolution is halved, the finest two
# axes of an isotropic volume are others.
AXES = (0, 1)
METHODS = ("bicubic", "spline", "fmen")
LABELS = {"bicubic": "bicubic", "spline": "cubic spline", "fmen": "finevox (FMEN)"}


def mni152(slices: int | None = None) -> nib.Nifti1Image:
    """The MNI152 T1 volume at 1 mm, or its middle ``slices`` axial slices.

    Raises
    ------
    InputError
        If ``slices`` is not above zero.
    """
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    samples = np.asarray(template.dataobj, dtype=np.float32)
    image = nib.Nifti1Image(samples, template.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"ICBM 152 nonlinear 2009, from nilearn"
    if slices is None:
        return image
    if slices < 1:
        raise InputError(f"slices {slices}: give a number above zero")
    first = max((samples.shape[2] - slices) // 2, 0)
    return image.slicer[:, :, first : first + slices]


def run_demo(
    folder: Path, *, slices: int | None = None, overwrite: bool = False
) -> tuple[list[dict[str, Any]], Path]:
    """Degrade, enlarge with every method, compare, draw.

    Returns
    -------
    rows, picture
        Figures of each method against the original, and the path of the picture.

    Raises
    ------
    InputError
        If the folder cannot be written, or holds results already.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from error
    picture = folder / "comparison.png"
    if picture.exists() and not overwrite:
        raise InputError(f"{picture}: exists already; choose another folder or give --overwrite")
    with loading():
        from finevox.workflows.degrade import write_divisible
        from finevox.workflows.volume import DegradeWorkflow, UpscaleWorkflow

    settings = DegradeSettings(scale=SCALE, axes=AXES)
    reference = folder / "mni152.nii.gz"
    low = folder / "mni152_low.nii.gz"
    write_divisible(mni152(slices), reference, settings, overwrite=overwrite)
    _run(DegradeWorkflow(reference, low, settings, overwrite=overwrite))
    results = {}
    for method in METHODS:
        log.info("restoring with %s", LABELS[method])
        results[method] = folder / f"mni152_{method}.nii.gz"
        wanted = UpscaleSettings(scale=SCALE, network=method, axes=AXES)
        _run(UpscaleWorkflow(low, results[method], wanted, overwrite=overwrite))
    rows = compare_images(reference, list(results.values()))
    draw_comparison(
        reference,
        low,
        {LABELS[method]: path for method, path in results.items() if method != "spline"},
        {LABELS[method]: row for method, row in zip(METHODS, rows, strict=True)},
        picture,
    )
    return rows, picture


def _run(workflow: VolumeWorkflow) -> None:
    workflow.initialize()
    workflow.run()
