"""A network for volumes that starts from the weights of one for slices.

J. Carreira, A. Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
CVPR 2017, doi:10.1109/CVPR.2017.502, section 2 (inflation by the mean).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn

from finevox.errors import CheckpointError, InputError
from finevox.networks.adapt import OneChannel
from finevox.networks.build import Network, create

Inflation = Literal["centre", "mean"]
INFLATIONS: tuple[str, ...] = get_args(Inflation)


def inflated(network: Network, how: Inflation = "centre", factor: int | None = None) -> Network:
    """The 3-D network that treats a volume constant along its third axis as ``network`` does.

    Parameters
    ----------
    network
        A 2-D network.
    how
        ``centre`` puts each kernel into the middle of the new axis, so that every plane is
        computed on its own; ``mean`` spreads it evenly over it, which is the same for a
        constant volume except as near to the first and last plane as the kernels reach.
    factor
        Scale along the third axis; None is the first one of the network. New sub-pixels repeat
        those of the plane.

    Raises
    ------
    InputError
        If the network is not 2-D, or ``how`` is unknown.
    CheckpointError
        If the network has weights that have no 3-D form.
    """
    if isinstance(network, OneChannel):
        return OneChannel(inflated(network.network, how, factor)).train(network.training)
    if network.settings["spatial_dims"] != 2:
        raise InputError(f"network {network.spec.name} is 3-D already; inflate a 2-D one")
    if how not in INFLATIONS:
        raise InputError(f"inflation {how!r}: choose one of {', '.join(INFLATIONS)}")
    settings = dict(network.settings)
    third = factor or network.factors[0]
    scale: Any = [*network.factors, third]
    settings |= {"spatial_dims": 3, "scale": scale if len(set(scale)) > 1 else third}
    if len(network.scales) > 1:
        settings["scales"] = [
            [*own, third if own == network.factors else own[0]] for own in network.scales
        ]
    volume = create(network.spec.name, **settings)
    flat = network.state_dict()
    modules = dict(volume.named_modules())
    state = {}
    for key, target in volume.state_dict().items():
        if key.startswith(volume.constants):
            # Such as derivatives: volumes have one more.
            state[key] = target
            continue
        # A tensor may stand under a second name that is no module's.
        module = modules.get(key.rpartition(".")[0])
        state[key] = _inflated_tensor(flat[key], target, module, how, key)
    like = next(network.parameters())
    volume.to(like.device, like.dtype).load_state_dict(state)
    volume.record, volume.sha256 = network.record, network.sha256
    volume.image_range = network.image_range
    return volume.train(network.training)


def _inflated_tensor(
    flat: torch.Tensor, target: torch.Tensor, module: nn.Module | None, how: Inflation, key: str
) -> torch.Tensor:
    if flat.dim() == 4 and target.dim() == 5:
        flat = _inflated_kernel(flat, target.shape[-1], module, how)
    if flat.shape != target.shape and flat.dim() == target.dim() and len(flat):
        # A sub-pixel layer: the new axis is the innermost of the sub-pixels.
        flat = flat.repeat_interleave(len(target) // len(flat), 0)
    if flat.shape != target.shape:
        raise CheckpointError(
            f"weights {key} of shape {tuple(flat.shape)} have no 3-D form: the 3-D network "
            f"wants {tuple(target.shape)}"
        )
    return flat.clone()


def _inflated_kernel(
    flat: torch.Tensor, width: int, module: nn.Module | None, how: Inflation
) -> torch.Tensor:
    taps = torch.zeros(width, dtype=flat.dtype)
    if isinstance(module, nn.ConvTranspose3d):
        # An output sample meets every stride-th tap. For a constant line each of these sets has
        # to sum to one.
        stride, padding = module.stride[-1], int(module.padding[-1])
        if how == "centre":
            taps[padding : padding + stride] = 1
        else:
            for phase in range(stride):
                taps[phase::stride] = 1 / len(taps[phase::stride])
    elif how == "centre":
        taps[width // 2] = 1
    else:
        taps.fill_(1 / width)
    return flat[..., None] * taps.to(flat.device)
