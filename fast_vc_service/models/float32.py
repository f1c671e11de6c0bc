"""What float32 means on a GPU: the one place that decides it.

NVIDIA GPUs can multiply float32 numbers as TF32, which has the range of float32 and ten bits of
precision. PyTorch does that by default in convolutions and recurrent layers. Here it is off
everywhere: results are those of a CPU within each family's tolerance, and ``precision`` alone
decides what is computed less precisely.
"""

from __future__ import annotations

from typing import Any

import torch


def exact_float32() -> None:
    """Have CUDA compute float32 in full precision in this process.

    PyTorch has two interfaces for this; once one was used, reading the other raises.
    """
    # Their types do not know of it yet.
    cuda: Any = torch.backends.cuda
    cudnn: Any = torch.backends.cudnn
    for operations in (cuda.matmul, cudnn.conv, cudnn.rnn):
        operations.fp32_precision = "ieee"
