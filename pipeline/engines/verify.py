"""Proof that an engine gives the network's own result, before it is used."""

from __future__ import annotations

import math

import torch

from finevox.networks import Network
from finevox.pipeline.engines.eager import Eager
from finevox.pipeline.engines.protocol import Engine, EngineError, Run

# Largest difference in float32, as a share of the largest value of the result.
TOLERANCE = 1e-4
# Least PSNR of lower precision against float32, of the range of the result.
LEAST_PSNR_DB = 60.0
# Of the batch that is compared: samples from one structure to the next, and share of noise.
STRUCTURE = 8
NOISE = 0.05


def check(
    engine: Engine,
    network: Network,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    threads: int,
) -> Run:
    """Load a network and compare what it gives with what PyTorch gives in float32.

    The batch is smooth with some noise, as scans are, and in the range that they are scaled to. It
    costs what one batch costs PyTorch, once for each network, shape and process.

    Raises
    ------
    EngineError
        If the engine cannot execute the network, or its result is another.
    """
    run = engine.load(network, shape, dtype, threads)
    if engine.name == "eager" and dtype == torch.float32:
        return run
    batch = _like_a_scan(shape).to(device)
    with torch.inference_mode():
        found = run(batch)
        wanted = Eager().load(network, shape, torch.float32, threads)(batch)
    if dtype == torch.float32:
        apart = relative_error(found, wanted)
        if not apart <= TOLERANCE:
            raise EngineError(
                f"{engine.name} differs from PyTorch by {apart:.1e} of the largest value for "
                f"network {network.spec.name}"
            )
    elif not (close := psnr_db(found, wanted)) >= LEAST_PSNR_DB:
        raise EngineError(
            f"{engine.name} in {str(dtype).removeprefix('torch.')} is {close:.0f} dB from float32 "
            f"for network {network.spec.name}, less than {LEAST_PSNR_DB:.0f}"
        )
    return run


def _like_a_scan(shape: tuple[int, ...]) -> torch.Tensor:
    """The same batch each time: large structures, and some noise."""
    generator = torch.Generator().manual_seed(0)
    few = [-(-n // STRUCTURE) + 1 for n in shape[2:]]
    mode = "bilinear" if len(few) == 2 else "trilinear"
    coarse = torch.rand((*shape[:2], *few), generator=generator)
    structures = torch.nn.functional.interpolate(coarse, size=shape[2:], mode=mode)
    return (1 - NOISE) * structures + NOISE * torch.rand(shape, generator=generator)


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference over the largest value; not a number where one of them is."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def psnr_db(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Peak signal-to-noise ratio, the peak being the range of what is wanted."""
    error = float((found - wanted).double().square().mean())
    peak = float(wanted.max() - wanted.min())
    return 10 * math.log10(peak**2 / error) if error else math.inf
