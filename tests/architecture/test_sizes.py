"""Nothing grows over what can be read at once, but for what is named here with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = ("fast_vc_service", "training", "benchmarks", "examples", "scripts")
MOST_ATTRIBUTES = 15
MOST_LINES = 70

WIDE_CLASSES = {
    "fast_vc_service/models/seedvc/dit.py:DiT": "the layers of a published network, one each",
    "fast_vc_service/settings/model.py:SeedVc": "a table of settings, each with its documentation",
    "fast_vc_service/protocol/opening.py:Start": "a message, one attribute a member",
    "fast_vc_service/client/protocol_types.py:SessionOptions": "a message, one a member",
    "fast_vc_service/protocol/opening.py:Ready": "a message, one attribute a member",
    "fast_vc_service/models/nano/converter.py:NanoConverter": "to be cut when steps become faster",
}
LONG_FUNCTIONS = {
    "fast_vc_service/models/nano/converter.py:_stepped": "to be cut when steps become faster",
    "fast_vc_service/cli/service.py:serve": "a command, one parameter a flag",
    "fast_vc_service/cli/conversion.py:mic": "a command, one parameter a flag",
}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for root in ROOTS:
        for path in sorted((ROOT / root).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def attributes(node: ast.ClassDef) -> set[str]:
    """The names that the body of a class declares, and those its methods set on ``self``."""
    declared = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    return declared | {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def wide_classes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and len(attributes(node)) > MOST_ATTRIBUTES:
            yield node.name


def long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno + 1 > MOST_LINES:
                yield node.name


def test_no_class_has_more_than_fifteen_attributes() -> None:
    found = {f"{path}:{name}" for path, tree in trees() for name in wide_classes(tree)}
    assert found - WIDE_CLASSES.keys() == set(), "cut it into classes with one task each"
    assert WIDE_CLASSES.keys() - found == set(), "no longer exceptions: take them off the list"


def test_no_function_is_longer_than_seventy_lines() -> None:
    found = {f"{path}:{name}" for path, tree in trees() for name in long_functions(tree)}
    assert found - LONG_FUNCTIONS.keys() == set(), "cut it into functions with one task each"
    assert LONG_FUNCTIONS.keys() - found == set(), "no longer exceptions: take them off the list"


@pytest.mark.parametrize("count", [MOST_ATTRIBUTES, MOST_ATTRIBUTES + 1])
def test_attributes_are_counted_wherever_they_are_set(count: int) -> None:
    names = [f"a{index}" for index in range(count - 3)]
    source = "class Wide:\n    declared: int\n    def __init__(self):\n"
    source += "        self.x, self.y = 1, 2\n        self.x += 1\n        self.x.other = 3\n"
    source += "".join(f"        self.{name} = 0\n" for name in names)
    assert list(wide_classes(ast.parse(source))) == ["Wide"] * (count > MOST_ATTRIBUTES)


@pytest.mark.parametrize("lines", [MOST_LINES, MOST_LINES + 1])
def test_lines_are_counted_from_the_signature_to_the_end(lines: int) -> None:
    source = "@decorated\nasync def long():\n" + "    pass\n" * (lines - 1)
    assert list(long_functions(ast.parse(source))) == ["long"] * (lines > MOST_LINES)
