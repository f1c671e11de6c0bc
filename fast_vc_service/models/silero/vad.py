"""Silero VAD (version 6, 16 kHz) as a function of a window: no state between calls.

A voice activity detector that keeps a toggle can be wrong for the rest of a call. This one hears
the same window as the converter, from silence, and says for each 32 ms how likely speech is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.models.checkpoint import Table, load_published, read_checkpoint

CHUNK = 512
"""Samples at 16 kHz (32 ms) a probability is for."""

_BEFORE = 64  # samples of the chunk before that are heard again
_FFT, _HOP = 256, 128

TABLE = Table(
    "Silero VAD",
    {
        "stft_conv": "transform",
        "conv1": "encoder.0",
        "conv2": "encoder.2",
        "conv3": "encoder.4",
        "conv4": "encoder.6",
        "lstm_cell": "recurrent",
        "final_conv": "out",
    },
)


class SileroVad(nn.Module):
    """The network; made with its weights by :func:`load_vad`."""

    def __init__(self) -> None:
        super().__init__()
        bins = _FFT // 2 + 1
        self.transform = nn.Conv1d(1, 2 * bins, _FFT, _HOP, bias=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(bins, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 64, 3, 2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 64, 3, 2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 128, 3, padding=1),
            nn.ReLU(),
        )
        self.recurrent = nn.LSTMCell(128, 128)
        self.out = nn.Conv1d(128, 1, 1)

    def forward(self, audio: Tensor) -> Tensor:
        """Probability of speech in each chunk.

        Args:
            audio: ``[B, chunks * 512]`` at 16 kHz.

        Returns:
            ``[B, chunks]``.
        """
        rows = audio.shape[0]
        chunks = functional.pad(audio, (_BEFORE, 0)).unfold(1, CHUNK + _BEFORE, CHUNK)
        flat = functional.pad(chunks.reshape(-1, 1, CHUNK + _BEFORE), (0, 64), "reflect")
        real, imaginary = self.transform(flat).chunk(2, dim=1)
        magnitude = torch.sqrt(real.square() + imaginary.square())
        # Of each chunk one frame is left.
        encoded = self.encoder(magnitude)[:, :, 0].reshape(rows, -1, 128)
        hidden = cell = encoded.new_zeros(rows, 128)
        heard = []
        for index in range(encoded.shape[1]):
            hidden, cell = self.recurrent(encoded[:, index], (hidden, cell))
            heard.append(hidden)
        out = self.out(torch.relu(torch.stack(heard, dim=2)))
        return torch.sigmoid(out)[:, 0]


@cache
def load_vad(device: torch.device) -> SileroVad:
    """Return the network with the weights that come with the package."""
    network = SileroVad()
    path = Path(__file__).with_name("silero_vad_16k.safetensors")
    load_published(network, read_checkpoint(path), TABLE)
    return network.eval().to(device)
