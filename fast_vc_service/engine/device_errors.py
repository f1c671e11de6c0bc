"""What an error of a converter says of the device it ran on; judged by its text, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fast_vc_service.errors import UserError

_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA error 2",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)
_DEVICE = ("CUDA", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "cuFFT error", "CUFFT_", "NVRTC")


class DeviceLostError(RuntimeError):
    """A device computes nothing any more: only a new process helps."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a device had no memory left: with less to do at once it may work."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Tell whether a device or one of its libraries has failed, memory included."""
    if is_out_of_memory(error) or type(error).__name__ == "AcceleratorError":  # torch's
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _DEVICE)


@contextmanager
def telling_device(device: str) -> Iterator[None]:
    """Say in one sentence what kept a model from being loaded on ``device``.

    Raises:
        UserError: The device has failed, or has too little memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_device_error(error):
            raise
        message = next((line for line in str(error).splitlines() if line.strip()), "no message")
        raise UserError(f"the model cannot be loaded on {device}: {message.strip()}") from error
