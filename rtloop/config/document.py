"""YAML text as plain values that remember their line and column.

The tree is composed with PyYAML's safe loader and turned into values here, because a constructor
that returns bare dicts has already lost duplicate keys, line numbers and what was really typed
(``on``, ``010``, ``1:30``).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from rtloop.config.problem import Keys, Problem, written
from rtloop.errors import Place

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 256 * 1024
"""A configuration is a few KiB. A larger file is another file, or an attack."""
MAX_DEPTH = 32
"""The schema needs 8. PyYAML's composer recurses on the C stack, so it must not go deep."""
MAX_VALUES = 20_000
"""Counted after aliases are followed: nested aliases grow exponentially."""

_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_IN_VALUE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F_]+")
_EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
_TAG = "tag:yaml.org,2002:"

# Part of PyYAML's message, what to do, and whether the cause is where its context began.
_SYNTAX_HINTS = (
    ("mapping values are not allowed", "quotes round a text that contains ': '", False),
    ("could not find expected ':'", "a colon and a space between a key and its value", True),
    ("expected <block end>", "every key of one mapping at the same indentation", False),
    ("did not find expected key", "every key of one mapping at the same indentation", False),
    ("cannot start any token", "quotes round a text that begins with a special character", False),
    ("expected ',' or", "a closing bracket, and commas between the elements", True),
    ("undefined alias", "an anchor '&name' above its alias '*name'", False),
)


class Unreadable(Exception):
    """The text is no YAML tree at all; the one problem says where and why."""

    def __init__(self, line: int, column: int, found: str, expected: str) -> None:
        super().__init__(line, column, found, expected)
        self.line, self.column, self.found, self.expected = line, column, found, expected


class Document:
    """The values of one YAML text (``data``), where each stands, and what is wrong with it as YAML.

    Mappings become dict, sequences list, scalars str, int, float, bool or None. ``name`` is that of the
    file, for messages. Raises Unreadable where no tree can be had.
    """

    def __init__(self, text: str, name: str = "") -> None:
        self._name = name
        self.problems: list[Problem] = []
        self._key_nodes: dict[Keys, Any] = {}
        self._nodes: dict[Keys, Any] = {}
        self._values = 0
        self._open: list[Any] = []
        root = _compose(text)
        if root is None or root.tag == _TAG + "null":
            raise Unreadable(1, 1, "an empty file", "the keys 'loops' and 'links'")
        self.data = self._value(root, ())

    def place(self, keys: Keys, at_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of a value or its key; of the nearest parent if absent."""
        while keys and keys not in self._nodes:
            keys = keys[:-1]
            at_key = True  # what is missing is reported at the key of the mapping that lacks it
        key_node = self._key_nodes.get(keys) if at_key else None
        return _position(key_node or self._nodes[keys])

    def places(self) -> dict[Keys, tuple[int, int]]:
        """Line and column of every value."""
        return {keys: self.place(keys) for keys in self._nodes}

    def found(self, keys: Keys) -> str:
        """What stands at ``keys``, in words, as it was typed."""
        node = self._nodes.get(keys)
        return "nothing" if node is None else describe(node)

    def where(self, at: tuple[int, int], keys: Keys) -> Place:
        """A line and column that :meth:`place` gave, for messages."""
        return Place(self._name, *at, written(keys))

    def _wrong(self, keys: Keys, expected: str, found: str, node: Any = None) -> None:
        at = _position(node) if node is not None else None
        self.problems.append(Problem(keys, expected, found, at=at))

    def _count(self, node: Any) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            found = f"more than {MAX_VALUES} values once aliases are followed"
            raise Unreadable(*_position(node), found, "a configuration without nested aliases")

    def _enter(self, node: Any) -> None:
        if any(node is outer for outer in self._open):
            found = "an alias that contains itself"
            raise Unreadable(*_position(node), found, "an alias of a value that ends above it")
        self._open.append(node)

    def _value(self, node: Any, keys: Keys) -> Any:
        self._count(node)
        self._nodes[keys] = node
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            self._wrong(keys, "a value without a tag", f"the tag {_short_tag(node)}")
        self._enter(node)
        if kind == "map":
            value: Any = self._mapping(node, keys)
        else:
            value = [self._value(item, (*keys, i)) for i, item in enumerate(node.value)]
        self._open.pop()
        return value

    def _mapping(self, node: Any, keys: Keys) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in self._pairs(node, keys):
            key = self._key(key_node, keys)
            if key is None:
                continue
            here = (*keys, key)
            if key in mapping:
                line, _ = _position(self._key_nodes[here])
                found = f"this key a second time (first in line {line})"
                self._wrong(here, "every key once", found, key_node)
                continue
            self._key_nodes[here] = key_node
            mapping[key] = self._value(value_node, here)
        return mapping

    def _pairs(self, node: Any, keys: Keys) -> list[tuple[Any, Any]]:
        """Keys and values of a mapping, those of its merge keys (``<<``) behind its own."""
        pairs = [(key, value) for key, value in node.value if key.tag != _TAG + "merge"]
        names = {key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)}
        for key, value in node.value:
            if key.tag != _TAG + "merge":
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    expected = "the alias of a mapping"
                    self._wrong((*keys, "<<"), expected, describe(source), source)
                    continue
                self._enter(source)
                for pair in self._pairs(source, keys):
                    self._count(pair[0])
                    if isinstance(pair[0], yaml.ScalarNode) and pair[0].value not in names:
                        names.add(pair[0].value)
                        pairs.append(pair)
                self._open.pop()
        return pairs

    def _key(self, node: Any, keys: Keys) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._wrong(keys, "a name as key", f"{describe(node)} as key", node)
            return None
        text = _IN_VALUE.sub("?", node.value)
        here = (*keys, text)
        if text != node.value:
            self._wrong(here, "a key without control characters", _quoted(node.value), node)
        elif node.tag == _TAG + "bool":
            expected = f'a name; put it in quotes ("{text}") or choose another'
            self._wrong(here, expected, f"the key {describe(node)}", node)
        elif node.tag != _TAG + "str":
            expected = "a name, beginning with a letter"
            self._wrong(here, expected, f"the key {_quoted(text)}", node)
        return text

    def _scalar(self, node: Any, keys: Keys) -> Any:
        text, tag = node.value, node.tag.removeprefix(_TAG)
        if _IN_VALUE.search(text):
            self._wrong(keys, "text on one line, without control characters", _quoted(text))
            return _IN_VALUE.sub("?", text)
        if tag == "null":
            return None
        if tag == "bool" and text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        if tag == "int":
            return self._integer(text, keys)
        if tag == "float":
            return self._float(text, keys)
        if tag in ("str", "timestamp", "value", "merge"):
            # YAML 1.1 wants a dot and a signed exponent; 1e3 is a number to everybody else.
            return float(text) if not node.style and _EXPONENT.fullmatch(text) else text
        self._wrong(keys, "a value without a tag", f"the tag {_short_tag(node)}")
        return text

    def _integer(self, text: str, keys: Keys) -> int | float:
        if _INT.fullmatch(text):
            digits = text.replace("_", "")
            # Python refuses to convert very long digit strings; float() does not.
            return int(digits) if len(digits) < 20 else float(digits)
        if _HEX.fullmatch(text):
            return int(text.replace("_", "")[:20], 16)
        if ":" in text:
            self._wrong(keys, "a plain number", f"{_clipped(text)} (YAML 1.1 reads it in base 60)")
        elif text.lstrip("+-").startswith("0b"):
            self._wrong(keys, "a plain number", f"{_clipped(text)} (a binary number)")
        else:
            expected = "a plain number without leading zeros"
            self._wrong(keys, expected, f"{_clipped(text)} (YAML 1.1 reads it in base 8)")
        return 1

    def _float(self, text: str, keys: Keys) -> float:
        plain = text.replace("_", "").lower()
        try:
            return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            base = " (YAML 1.1 reads it in base 60)" if ":" in text else ""
            self._wrong(keys, "a plain number", _clipped(text) + base)
            return 1.0


_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _position(node: Any) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _compose(text: str) -> Any:
    bad = _UNPRINTABLE.search(text)
    if bad:
        before = _LINE_BREAK.split(text[: bad.start()])
        raise Unreadable(
            len(before),
            len(before[-1]) + 1,
            f"the character U+{ord(bad[0]):04X}",
            "printable text; is this a YAML file, saved as UTF-8?",
        )
    try:
        refuse_depth(text)
        return yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(error, text) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The Python parser lets bad \U escapes and huge %YAML versions through to int() and chr().
        raise Unreadable(1, 1, f"no YAML ({error})", "valid YAML") from None


def has_controls(text: str) -> bool:
    """Whether a text has characters that no value of a configuration may have, however it is quoted."""
    return _IN_VALUE.search(text) is not None


def refuse_depth(text: str) -> None:
    """Raises Unreadable for what nests too deep to be composed, or is several documents; YAML's own errors."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                found = f"more than {MAX_DEPTH} levels of nesting"
                raise Unreadable(*_position(event), found, "the few levels of a configuration")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Unreadable(*_position(event), "a second document ('---')", "one per file")


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    problem = f"{error.problem or error.context}"
    expected = f"valid YAML ({problem})"
    for part, hint, at_context in _SYNTAX_HINTS:
        if part in problem:
            expected = f"{hint} ({problem})"
            mark = (error.context_mark if at_context else None) or mark
            break
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = _LINE_BREAK.split(text)
    shown = lines[line] if line < len(lines) else ""
    found = _quoted(shown.strip()) if shown.strip() else "the end of the text"
    if "\t" in shown[: len(shown) - len(shown.lstrip())] or shown[column : column + 1] == "\t":
        found = f"a tab in {_quoted(shown.strip())}" if shown.strip() else "a tab"
        expected = "spaces: YAML does not indent with tabs"
    return Unreadable(line + 1, column + 1, found, expected)


def describe(node: Any) -> str:
    """A YAML node in words, as it was typed: ``'fast'``, ``on`` (which YAML reads as true)."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping" if node.value else "an empty mapping"
    if isinstance(node, yaml.SequenceNode):
        return f"a list of {len(node.value)}" if node.value else "an empty list"
    tag = str(node.tag).removeprefix(_TAG)
    if tag == "null":
        return "nothing"
    if tag == "bool":
        word = node.value.lower()
        if word in ("true", "false"):
            return str(word)
        return f"{_clipped(node.value)} (YAML 1.1 reads it as {str(_BOOLEANS.get(word)).lower()})"
    if tag in ("int", "float") or (not node.style and _EXPONENT.fullmatch(node.value)):
        return _clipped(str(node.value))
    return _quoted(node.value)


def _short_tag(node: Any) -> str:
    return _clipped(str(node.tag).replace(_TAG, "!!"))


def _clipped(text: str) -> str:
    text = text if text.isprintable() else ascii(text)[1:-1]
    # The end of a path says more than its middle.
    return text if len(text) <= 60 else f"{text[:20]}...{text[-37:]}"


def _quoted(text: str) -> str:
    return f"'{_clipped(text)}'"
