"""What programs import is there and takes what it took."""

from __future__ import annotations

from tests.compatibility.comparison import differences
from tests.compatibility.python_names import public_names
from tests.compatibility.recordings import load


def test_public_names() -> None:
    found = differences(load("python-names"), public_names())
    assert not found, "\n".join(found)
