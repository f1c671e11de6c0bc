"""The states of a service, as HTTP, the info file and the commands tell them."""

from __future__ import annotations

from typing import Literal

ServiceState = Literal["starting", "ready", "draining", "failed"]
