"""Terms that compare neighbourhoods, edges and spectra."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by
from monai.losses import SSIMLoss

from finevox.errors import InputError
from finevox.networks.build import Network
from finevox.networks.losses.pixel import positive
from finevox.networks.losses.term import Outputs, Term, norm_called
from finevox.networks.spsr import GradientMap


class SSIM(Term):
    """1 less the structural similarity, mean over the windows that lie inside (MONAI's).

    Z. Wang et al., IEEE TIP 13(4), 2004, doi:10.1109/TIP.2003.819861. ``peak`` is the range of
    intensities, ``window`` the side of the Gaussian window, ``sigma`` its width.

    Raises
    ------
    ValueError
        If an option is not positive.
    """

    def __init__(
        self, network: Network, peak: float = 1.0, window: int = 11, sigma: float = 1.5
    ) -> None:
        super().__init__(network)
        self.window = window
        self.loss = SSIMLoss(
            len(network.factors),
            data_range=positive("peak", peak),
            win_size=int(positive("window", window)),
            kernel_sigma=positive("sigma", sigma),
        )

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        if min(target.shape[2:]) < self.window:
            raise InputError(
                f"loss ssim has a window of {self.window} samples, patches are "
                f"{'x'.join(map(str, target.shape[2:]))}; give larger patches or a smaller window"
            )
        value: torch.Tensor = self.loss(outputs["output"], target)
        return value


class Gradient(Term):
    """The difference of the lengths of the gradient of output and target.

    C. Ma et al., CVPR 2020, doi:10.1109/CVPR42600.2020.00779, section 3.3. The paper compares by
    ``norm`` l1, its public code by mse. Outside an image is 0, as everywhere in that network.

    Raises
    ------
    ValueError
        If the norm is unknown.
    """

    def __init__(self, network: Network, norm: str = "l1") -> None:
        super().__init__(network)
        self.compare = norm_called(norm)
        self.gradient = GradientMap(len(network.factors))

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = self.compare(self.gradient(outputs["output"]), self.gradient(target))
        return value


class GradientBranch(Term):
    """Mean absolute error of the gradient map that SPSR's second branch gives."""

    needs: ClassVar[str | None] = "gradient"

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.gradient = GradientMap(len(network.factors))

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        return F.l1_loss(outputs["gradient"], self.gradient(target))


class KSpaceL1(Term):
    """Mean modulus of the error's discrete Fourier transform (orthonormal)."""

    def forward(self, outputs: Outputs, target: torch.Tensor) -> torch.Tensor:
        error = outputs["output"] - target
        spectrum: torch.Tensor = torch.fft.fftn(
            error, dim=tuple(range(2, error.dim())), norm="ortho"
        )
        return spectrum.abs().mean()
