"""What the import contracts of pyproject.toml allow each room of the package, in words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

PACKAGE = "fast_vc_service"


class Contracts:
    """The contracts of import-linter, asked room by room.

    Args:
        project: The text of pyproject.toml.

    Attributes:
        rooms: All modules and packages at the root of the package, the uppermost first.
    """

    def __init__(self, project: str) -> None:
        contracts = tomllib.loads(project)["tool"]["importlinter"]["contracts"]
        (layers,) = (each for each in contracts if each["type"] == "layers")
        self._layers = [re.split(r" *[|:] *", layer) for layer in layers["layers"]]
        self._forbidden = [each for each in contracts if each["type"] == "forbidden"]
        self._protected = [each for each in contracts if each["type"] == "protected"]
        self.rooms = [room for layer in self._layers for room in layer]

    def may_import(self, room: str) -> str:
        """Say what ``room`` may import: "all below but `settings`; no `torch`"."""
        (place,) = (index for index, layer in enumerate(self._layers) if room in layer)
        below = [other for layer in self._layers[place + 1 :] for other in layer]
        if not below:
            return "nothing"
        forbidden = self._forbidden_to(room)
        closed = [other for other in below if other in forbidden]
        partly = []
        for contract in self._protected:
            for target in _inside(contract["protected_modules"]):
                if target in below and target not in closed:
                    allowed = _importers(room, contract)
                    if not allowed:
                        closed.append(target)
                    elif room not in allowed:
                        modules = ", ".join(f"`{module}`" for module in allowed)
                        partly.append(f"`{target}` in {modules} only")
        libraries = [name for name in forbidden if name not in self.rooms]
        text = "all below"
        if closed:
            text += " but " + ", ".join(f"`{other}`" for other in closed)
        if libraries:
            partly.append("no " + ", ".join(f"`{name}`" for name in libraries))
        return "; ".join([text, *partly])

    def _forbidden_to(self, room: str) -> list[str]:
        return [
            module.removeprefix(f"{PACKAGE}.")
            for contract in self._forbidden
            if f"{PACKAGE}.{room}" in contract["source_modules"]
            for module in contract["forbidden_modules"]
        ]


def _inside(modules: list[str]) -> list[str]:
    return [module.removeprefix(f"{PACKAGE}.") for module in modules]


def _importers(room: str, contract: dict[str, Any]) -> list[str]:
    """``room`` itself, or those of its modules that may import what ``contract`` protects."""
    names = _inside(contract["allowed_importers"])
    if room in names:
        return [room]
    return [name.removeprefix(f"{room}.") for name in names if name.startswith(f"{room}.")]


def room_of(path: str) -> str:
    """Return the room that ``fast_vc_service/NAME/`` or ``fast_vc_service/NAME.py`` is."""
    return Path(path).stem if path.endswith(".py") else Path(path).name
