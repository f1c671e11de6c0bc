"""What is said, read from an envelope: does a made envelope still say the words?

A small network learns, beside the discriminator and from true envelopes only, to predict the
teacher's content from an envelope; the made envelope then has to be read as what was to be said
(a perceptual loss as in StarGANv2-VC, Li et al. 2021, with this network in place of a recogniser).
The mean distance of envelopes weighs all of a spectrum alike; this weighs what tells sounds apart.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.nano.envelope import BANDS_BELOW_7K6
from training.units import CONTENT

_WIDTH = 192
_DILATIONS = (1, 2, 3, 1)


class Reader(nn.Module):
    """Normalised envelopes [B, 2 T, bands] to content [B, T, 96]; hears 230 ms to either side."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS_BELOW_7K6, _WIDTH, 6, stride=2, padding=2)
        self.layers = nn.ModuleList(
            nn.Conv1d(_WIDTH, _WIDTH, 3, padding=dilation, dilation=dilation)
            for dilation in _DILATIONS
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, _WIDTH) for _ in _DILATIONS)
        self.last = nn.Conv1d(_WIDTH, CONTENT, 1)

    def forward(self, envelope: Tensor) -> Tensor:
        """See the class.

        Args:
            envelope: [B, 2 T, BANDS], of which those below 7.6 kHz are read.
        """
        x = functional.gelu(self.first(envelope[..., :BANDS_BELOW_7K6].transpose(1, 2)))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + functional.gelu(layer(norm(x)))
        read: Tensor = self.last(x).transpose(1, 2)
        return read
