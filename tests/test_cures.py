"""What a message tells a user to write into a configuration, YAML reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import rtloop

_SOURCES = sorted(Path(rtloop.__file__).parent.rglob("*.py"))
#: In backticks, or a key with a mapping or a list in flow style behind it.
_CURES = re.compile(
    r"`(?P<quoted>[^`]*\b[a-z_]+: [^`]*)`|(?P<flow>\b[a-z_]+: (?:\{[^}]*\}|\[[^\]]*\]))"
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file with their lines, f-strings with something in place of what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(map(_filled, node.values))
        elif isinstance(node, ast.Constant) and id(node) not in documentation | parts:
            yield node.lineno, str(node.value)


def _filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    # `flow` makes YAML of a mapping, and has tests of its own.
    call = part.value
    is_flow = isinstance(call, ast.Call) and getattr(call.func, "id", "") == "flow"
    return "{a: 1}" if is_flow else "x"


CURES = [
    pytest.param(match["quoted"] or match["flow"], id=f"{path.name}:{line}")
    for path in _SOURCES
    for line, text in texts(path)
    for match in _CURES.finditer(text)
]


@pytest.mark.parametrize("cure", CURES)
def test_a_cure_that_is_yaml_can_be_pasted(cure: str) -> None:
    found = yaml.safe_load(cure)
    assert isinstance(found, dict), cure
    assert all(isinstance(key, str) for key in found), cure


def test_the_cures_are_found() -> None:
    found = {str(param.values[0]) for param in CURES}
    assert "state: {a: 1}" in found
    assert len(found) >= 2
