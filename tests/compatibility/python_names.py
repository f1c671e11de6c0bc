"""The names that programs import: what they take, and what their objects have."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, is_typeddict

MODULES = ("fast_vc_service.client", "fast_vc_service.audio.files")

DESCRIBED = {"fast_vc_service.client.microphone": ("talk",)}
"""What the page about the Python client names beside them."""

CLUSTER = ("app", "middlewares")
"""Named on the command line of Ray, which need not be installed here."""


_PROTOCOLS = {"__enter__", "__aenter__", "__iter__", "__aiter__"}


def public_names() -> dict[str, Any]:
    """Return the public names of the modules that programs import."""
    found: dict[str, Any] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", None) or [
            each
            for each, value in vars(module).items()
            if not each.startswith("_") and getattr(value, "__module__", None) == name
        ]
        found[name] = {each: _describe(getattr(module, each)) for each in names}
    for name, described in DESCRIBED.items():
        module = importlib.import_module(name)
        found[name] = {each: _describe(getattr(module, each)) for each in described}
    return {**found, "fast_vc_service.cluster": cluster_names()}


def cluster_names() -> dict[str, bool]:
    """Return which of the names that Ray is told are defined, without importing Ray."""
    spec = importlib.util.find_spec("fast_vc_service.cluster")
    assert spec is not None
    assert spec.origin is not None
    defined: set[str] = set()
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            defined.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            defined.update(each.id for each in node.targets if isinstance(each, ast.Name))
    return {name: True for name in CLUSTER if name in defined}


def _describe(value: Any) -> Any:
    if inspect.isclass(value):
        return {
            "takes": _parameters(value),
            "is an error of": [each.__name__ for each in value.__mro__ if _is_builtin_error(each)],
            "fields": dict.fromkeys(_fields(value), True),
            "members": {
                name: _describe_member(inspect.getattr_static(value, name))
                for name in _members(value)
            },
        }
    return _describe_member(value)


def _describe_member(member: Any) -> Any:
    member = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if inspect.isfunction(member):
        return {"takes": _parameters(member), "is awaited": inspect.iscoroutinefunction(member)}
    return "a value"


def _parameters(called: Any) -> dict[str, Any]:
    """Return the parameters: those given by position in their order, the others by name."""
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except ValueError:
        return {}
    found: dict[str, Any] = {"required": [], "by name": {}}
    for position, parameter in enumerate(parameters):
        default = parameter.default
        required = default is inspect.Parameter.empty and parameter.kind not in {
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.VAR_POSITIONAL,
        }
        by_position = parameter.kind in {
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        }
        found["by name"][parameter.name] = {
            "default": None if required else _shown(default),
            "position": position if by_position else None,
        }
        if required:
            found["required"].append(parameter.name)
    return found


def _shown(default: Any) -> str:
    text = repr(default)
    # The address of an object says nothing.
    return text if " at 0x" not in text and "<" not in text else "<an object>"


def _fields(value: type) -> list[str]:
    if is_typeddict(value):
        return list(value.__annotations__)
    return [field.name for field in dataclasses.fields(value)] if is_dataclass(value) else []


def _members(value: type) -> set[str]:
    """Return the public members, and how objects are entered and iterated; none of builtins."""
    return {
        name
        for each in value.__mro__
        if each.__module__ != "builtins" and not is_typeddict(each)
        for name in vars(each)
        if not name.startswith("_") or name in _PROTOCOLS
    }


def _is_builtin_error(value: type) -> bool:
    return value.__module__ == "builtins" and issubclass(value, BaseException)
