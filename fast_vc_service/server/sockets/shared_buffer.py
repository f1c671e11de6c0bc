"""The memory that sockets are read to, a slice at a time."""

from __future__ import annotations

SLICE_BYTES = 4096
"""Most bytes that a parser is given at a time."""

DENSE_SLICE_BYTES = 512
"""The same for a socket whose slices cost much: hundreds of tiny frames fit into 4 KiB."""


class SharedBuffer:
    """Where all sockets of a loop are read to: what is in it is taken out at once."""

    def __init__(self) -> None:
        self._whole = memoryview(bytearray(SLICE_BYTES))
        self._dense = self._whole[:DENSE_SLICE_BYTES]

    def piece(self, *, dense: bool) -> memoryview:
        """Return the part of it that a socket may fill."""
        return self._dense if dense else self._whole

    def take(self, count: int) -> bytes:
        """Return its first ``count`` bytes."""
        return bytes(self._whole[:count])
