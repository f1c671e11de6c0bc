"""What a JSON schema allows, as a flat table of its fields, whatever way the schema is written.

A reference is the same as what it points at, ``anyOf`` the same as a list of types, ``const`` the
same as an ``enum`` of one value.
"""

from __future__ import annotations

from typing import Any

BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
    "default",
    "format",
)


def fields(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of each field of ``schema``, by its path, the root being ""."""
    found: dict[str, Any] = {}
    _walk(schema, document, "", found)
    return found


def _walk(schema: Any, document: dict[str, Any], path: str, found: dict[str, Any]) -> None:
    schema = resolve(schema, document)
    if not isinstance(schema, dict):
        return
    known = found.setdefault(path, {})
    types = schema.get("type", [])
    for name in [types] if isinstance(types, str) else types:
        known.setdefault("types", {})[name] = True
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    for value in values:
        known.setdefault("values", {})[str(value)] = True
    known.update({name: schema[name] for name in BOUNDS if name in schema})
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        _walk(part, document, path, found)
    for name, member in schema.get("properties", {}).items():
        _walk(member, document, f"{path}/{name}", found)
        known = found[f"{path}/{name}"]
        known["required"] = name in schema.get("required", ())
        if known["required"]:
            known.pop("default", None)  # of what is always there it says nothing
    if "items" in schema:
        _walk(schema["items"], document, f"{path}/[]", found)
    if isinstance(schema.get("additionalProperties"), dict):
        _walk(schema["additionalProperties"], document, f"{path}/*", found)


def resolve(node: Any, document: dict[str, Any]) -> Any:
    """Follow references to the thing itself."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node
