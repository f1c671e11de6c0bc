"""``fast-vc`` with a converter that never comes back from its first step."""

from __future__ import annotations

from typing import NoReturn

from fast_vc_service.cli import main
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.process.signals import allow_interrupt
from waiting import spend


def stuck(*_arguments: object) -> NoReturn:
    print("stuck", flush=True)
    while True:
        spend(60)


# Whoever runs the tests in the background has it ignored.
allow_interrupt()
PassthroughConverter.step = stuck  # type: ignore[method-assign]
main()
