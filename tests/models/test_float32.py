from __future__ import annotations

import torch

from fast_vc_service.models.float32 import exact_float32


def test_no_operation_computes_in_tf32() -> None:
    operations = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [each.fp32_precision for each in operations]
    try:
        operations[1].fp32_precision = "tf32"
        exact_float32()
        assert [each.fp32_precision for each in operations] == ["ieee"] * 3
    finally:
        for each, precision in zip(operations, before, strict=True):
            each.fp32_precision = precision
