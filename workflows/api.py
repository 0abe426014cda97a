"""The functions of ``import finevox``: the same settings and defaults as the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib

from finevox.pipeline.read import ImageLike
from finevox.pipeline.settings import DegradeSettings, UpscaleSettings
from finevox.transforms.resize import Degradation
from finevox.workflows.compare import compare_images
from finevox.workflows.volume import DegradeWorkflow, UpscaleWorkflow, VolumeWorkflow


def upscale(image: ImageLike, scale: int | Sequence[int] = 2, **settings: Any) -> nib.Nifti1Image:
    """Give an image back at higher resolution.

    Parameters
    ----------
    image
        A path or a nibabel image, 3-D or 4-D.
    scale
        Factor of enlargement, or one for each of the axes.
    settings
        Fields of :class:`~finevox.pipeline.settings.UpscaleSettings`: ``network``, ``weights``,
        ``degradation``, ``axes``, ``device``, ``max_memory``, ``self_ensemble``, ``dtype``, ...

    Returns
    -------
    nibabel.Nifti1Image
        In the input's units and type, its affine that of the new samples.

    Raises
    ------
    InputError, GeometryError, CheckpointError
        If the image or the request cannot be used.
    """
    factors = tuple(scale) if isinstance(scale, Sequence) else scale
    wanted = UpscaleSettings(scale=factors, **settings)
    return _run(UpscaleWorkflow(image, settings=wanted, command=f"finevox.upscale({wanted})"))


def degrade(
    image: ImageLike,
    kind: Degradation = "bicubic",
    scale: float | Sequence[float] = 2,
    **settings: Any,
) -> nib.Nifti1Image:
    """Give an image back at lower resolution.

    Parameters
    ----------
    image
        A path or a nibabel image, 3-D or 4-D.
    kind
        ``bicubic`` (MATLAB ``imresize``) or ``kspace`` (centred DFT truncation).
    scale
        Factor of reduction, or one for each of the axes; a length becomes ``ceil(N / scale)``.
    settings
        Fields of :class:`~finevox.pipeline.settings.DegradeSettings`: ``axes``,
        ``noise_snr_db``, ``seed``, ``dtype``.

    Returns
    -------
    nibabel.Nifti1Image
        In the input's units and type, its affine that of the new samples.

    Raises
    ------
    InputError, GeometryError
        If the image or the request cannot be used.
    """
    factors = tuple(scale) if isinstance(scale, Sequence) else scale
    wanted = DegradeSettings(kind=kind, scale=factors, **settings)
    return _run(DegradeWorkflow(image, settings=wanted, command=f"finevox.degrade({wanted})"))


def compare(
    reference: ImageLike,
    image: ImageLike,
    *,
    mask: ImageLike | None = None,
    peak: float | None = None,
) -> dict[str, Any]:
    """How far an image is from a reference on the same grid.

    Parameters
    ----------
    reference, image
        Paths or nibabel images.
    mask
        An image on the same grid; voxels above zero count.
    peak
        For PSNR and SSIM; None is the maximum of the reference.

    Returns
    -------
    dict
        Figures by name: see :func:`finevox.workflows.compare.compare_images`.

    Raises
    ------
    GeometryError
        If the grids differ.
    InputError
        If an image cannot be used.
    """
    return compare_images(reference, [image], mask=mask, peak=peak)[0]


def _run(workflow: VolumeWorkflow) -> nib.Nifti1Image:
    workflow.initialize()
    workflow.run()
    return workflow.finalize().image
