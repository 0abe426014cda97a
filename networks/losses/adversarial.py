"""Losses of a generator and of the discriminator that judges it.

All take logits, as a discriminator's ``outputs(images)["logits"]`` are. Both sides of a
discriminator's loss, real and fake, count half, as in the public code of ESRGAN and SPSR.

- vanilla: I. Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, with the generator's
  ``-log D`` as in SRGAN: C. Ledig et al., CVPR 2017, doi:10.1109/CVPR.2017.19, eq. (6).
- relativistic: the relativistic average of A. Jolicoeur-Martineau, "The relativistic
  discriminator: a key element missing from standard GAN", ICLR 2019, as in ESRGAN and SPSR:
  C. Ma et al., CVPR 2020, doi:10.1109/CVPR42600.2020.00779.
- least-squares: X. Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017,
  doi:10.1109/ICCV.2017.304, without its factor of a half.
"""

from __future__ import annotations

import difflib

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows it by

from finevox.errors import ConfigError

KINDS = ("vanilla", "relativistic", "least-squares")


class AdversarialLoss:
    """One of :data:`KINDS`.

    MONAI's adversarial loss takes a sigmoid before the logarithm, which loses the gradient where
    the discriminator is sure, and knows no relativistic average.

    Raises
    ------
    ConfigError
        If the kind is unknown.
    """

    def __init__(self, kind: str = "vanilla") -> None:
        if kind not in KINDS:
            near = difflib.get_close_matches(str(kind), KINDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KINDS)}"
            raise ConfigError(f"unknown adversarial loss {kind!r}; {hint}")
        self.kind = kind

    def generator(self, real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
        """Low where the discriminator takes the fake for real.

        No gradient goes to the real logits, which do not depend on the generator.
        """
        if self.kind != "relativistic":
            return self._distance(fake_logits, 1.0)
        real = real_logits.detach()
        return self._relative(fake_logits, real)

    def discriminator(self, real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
        """Low where it tells real from fake; give it fakes that are detached."""
        if self.kind == "relativistic":
            return self._relative(real_logits, fake_logits)
        return (self._distance(real_logits, 1.0) + self._distance(fake_logits, 0.0)) / 2

    def _relative(self, higher: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
        """Low where each of ``higher`` is above the mean of ``lower``, and the reverse."""
        above = self._distance(higher - lower.mean(), 1.0)
        below = self._distance(lower - higher.mean(), 0.0)
        return (above + below) / 2

    def _distance(self, logits: torch.Tensor, label: float) -> torch.Tensor:
        labels = torch.full_like(logits, label)
        if self.kind == "least-squares":
            return F.mse_loss(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels)
