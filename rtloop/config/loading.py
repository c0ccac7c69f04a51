"""From a file or a text to a ``Config``, or to one error with every problem found."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from rtloop.config.config import RULES_BROKEN, Config
from rtloop.config.document import MAX_BYTES, Document, Unreadable
from rtloop.config.given import describe
from rtloop.config.problem import Keys, Problem, written
from rtloop.config.values import TAGS
from rtloop.config.wording import problem_of, union_problem
from rtloop.errors import ConfigError, Finding, Place

MAX_PROBLEMS = 100
"""Lines of one error message. More than that is not a configuration."""


def load(path: str | os.PathLike[str]) -> Config:
    """Read one configuration file.

    Raises ConfigError with every problem found, each with file, line and column.
    """
    name = os.fspath(path)
    return _config(_text(_bytes(name), name), name)


def loads(text: str, name: str = "<text>") -> Config:
    """Read a configuration from text. ``name`` stands for the file in messages, and paths in the
    text are relative to its folder.

    Raises ConfigError with every problem found, each with name, line and column.
    """
    if not isinstance(text, str):
        raise TypeError(f"text: found {describe(text)}; expected the text of a YAML file")
    if len(text) > MAX_BYTES:
        raise _wrong_file(name, *_too_large("characters"))
    return _config(text.removeprefix("\ufeff"), name)


def _bytes(name: str) -> bytes:
    shown = name if name.isprintable() else ascii(name)
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever.
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _wrong_file(shown, "no regular file", "a YAML file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _wrong_file(shown, "no such file", _instead(name)) from None
    except NotADirectoryError:
        expected = "a path whose folders exist"
        raise _wrong_file(shown, "a file where a folder is named", expected) from None
    except IsADirectoryError:
        raise _wrong_file(shown, "a folder", _instead(os.path.join(name, ""))) from None
    except PermissionError:
        expected = f"read permission; try: chmod u+r {quote(str(shown))}, or another user"
        raise _wrong_file(shown, "no permission to read it", expected) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _wrong_file(shown, f"'{reason}'", "a readable YAML file") from None
    if len(data) > MAX_BYTES:
        raise _wrong_file(shown, *_too_large("bytes"))
    return data


def _wrong_file(name: str, found: str, expected: str) -> ConfigError:
    return ConfigError([Finding.of(Place(name), found, expected)])


def _too_large(unit: str) -> tuple[str, str]:
    return f"more than {MAX_BYTES} {unit}", "a configuration of a few KiB"


def _instead(name: str) -> str:
    """What could have been meant by a path that is no file."""
    folder, wanted = os.path.split(name)
    try:
        names = sorted(
            entry
            for entry in os.listdir(folder or ".")[:10_000]
            if entry.endswith((".yaml", ".yml")) and entry.isprintable()
        )
    except (OSError, ValueError):
        return "the path of a YAML file"
    nearest = get_close_matches(wanted, names, 1)
    if nearest:
        return f"the path of a YAML file; nearest '{os.path.join(folder, nearest[0])}'"
    if 0 < len(names) <= 5:
        return f"the path of a YAML file, such as {', '.join(names)}"
    return "the path of a YAML file"


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace").split("\n")
        place = Place(name, len(before), len(before[-1]) + 1, written(()))
        found = f"byte 0x{data[error.start]:02x}, which is not UTF-8"
        expected = "UTF-8 text: save the file as UTF-8, or check that it is the YAML file"
        raise ConfigError([Finding.of(place, found, expected)]) from None


def _config(text: str, name: str) -> Config:
    shown = name if name.isprintable() else ascii(name)
    try:
        document = Document(text, shown)
    except Unreadable as error:
        place = Place(shown, error.line, error.column, written(()))
        raise ConfigError([Finding.of(place, error.found, error.expected)]) from None
    context = {"folder": os.path.dirname(name)}
    problems = list(document.problems)
    config = None
    try:
        config = Config.model_validate(document.data, context=context)
    except ValidationError as error:
        problems += problems_in(document, error, context)
    if problems or config is None:
        raise ConfigError(findings(problems, document))
    config._path = Path(name)
    with suppress(FileNotFoundError):  # a text, in a working directory that was deleted
        config._folder = Path(os.path.abspath(context["folder"]))
    config._source_text = text
    config._places = document.places()
    return config


class Source(Protocol):
    """Where a configuration comes from: its plain values, and where each stands."""

    data: Any
    problems: list[Problem]
    """What is wrong beside what the sections say."""

    def place(self, keys: Keys, at_key: bool = False) -> tuple[int, int]:
        """By which problems are told in order, of a value or its key; of the nearest parent if absent."""

    def found(self, keys: Keys) -> str:
        """What stands at ``keys``, in words."""

    def where(self, at: tuple[int, int], keys: Keys) -> Place:
        """For messages."""


def problems_in(
    document: Source,
    error: ValidationError,
    context: dict[str, Any],
    root: type[BaseModel] = Config,
) -> list[Problem]:
    """The problems of single values and, judged on what is left without those, of the rules.

    ``root`` is the section that was validated; only a whole configuration has rules.
    """
    details = error.errors(include_url=False)
    wrong = {problem.keys for problem in document.problems}
    typos = set(wrong)
    problems: list[Problem] = []
    rules = _rule_problems(details)
    if rules is None:
        for detail in details:
            keys = _keys(detail["loc"], document.data)
            wrong.add(keys)
            if detail["type"] == "extra_forbidden":
                typos.add(keys)
            # A list is "too short" for pydantic when its only element is wrong.
            if detail["type"] == "too_short" and _has_wrong_elements(detail, details):
                continue
            options = [d for d in details if _is_option(d, document.data, keys)]
            if detail not in options:
                problems.append(problem_of(detail, keys, document.data, root))
            elif detail is options[0]:
                problems.append(union_problem(options, keys, document.data, root))
        # A required key that is mistyped needs no second line that says it is missing.
        meant = {(p.keys[:-1], p.nearest) for p in problems if p.keys in typos}
        missing = {_keys(d["loc"], document.data) for d in details if d["type"] == "missing"}
        problems = [
            p
            for p in problems
            if p.keys not in missing or (p.keys[:-1], f"known key '{p.keys[-1]}'") not in meant
        ]
        is_whole = root is Config
        rules = _rules_without(document.data, wrong, details, context) if is_whole else []
    return problems + [
        rule for rule in rules if not _is_withheld(rule, wrong, typos, document.data)
    ]


def _is_withheld(rule: Problem, wrong: set[Keys], typos: set[Keys], data: Any) -> bool:
    """Whether a broken rule may only follow from values that are wrong on their own.

    A rule about a whole section ("neither rate_hz nor period_ms"), or about a key that is not there, may
    follow from any mistyped key of that section, but not from its other wrong values.
    """
    section = rule.keys if _is_there(data, rule.keys) else rule.keys[:-1]
    roots = [_list_of(keys) for keys in wrong]
    return (
        any(rule.keys[: len(root)] == root for root in roots)
        or any(_related(judged, root) for judged in rule.judged for root in roots)
        or any(typo[:-1] == section for typo in typos)
    )


def _is_there(data: Any, keys: Keys) -> bool:
    for key in keys:
        if not _has(data, key):
            return False
        data = data[key]
    return True


def _has_wrong_elements(detail: Any, details: list[Any]) -> bool:
    location = detail["loc"]
    return any(d is not detail and d["loc"][: len(location)] == location for d in details)


def _rule_problems(details: list[Any]) -> list[Problem] | None:
    if len(details) == 1 and details[0]["type"] == RULES_BROKEN:
        found: list[Problem] = details[0]["ctx"]["problems"]
        return found
    return None


def _rules_without(
    data: Any, wrong: set[Keys], details: list[Any], context: dict[str, Any]
) -> list[Problem]:
    """Broken rules of the configuration that remains when wrong values are left out.

    Where a required key is left out, a value that breaks no rule stands in, or the section goes
    with it; hence rounds, each one level higher.
    """
    for _ in range(16):
        for detail in details:
            keys = _keys(detail["loc"], data)
            wrong.add(keys)
            if detail["type"] != "missing":
                data = _edited(data, keys, _ABSENT)
            elif keys[-1] in _STAND_INS:
                data = _edited(data, keys, _STAND_INS[str(keys[-1])])
            else:
                data = _edited(data, keys[:-1], _ABSENT)
        if not isinstance(data, dict) or not data:
            return []
        try:
            Config.model_validate(data, context=context)
        except ValidationError as error:
            details = error.errors(include_url=False)
            rules = _rule_problems(details)
            if rules is not None:
                return rules
        else:
            return []
    return []


_ABSENT = object()
_TERMS = [{"previous_action": True}]
_ELEMENTS: dict[str | int, Any] = {"observation": _TERMS[0]}
"""Lists of sections, and an element that breaks no rule."""
_STAND_INS: dict[str | int, Any] = {
    "class": "soft",
    "safe": 0.0,
    "max_misses": 0,
    "model": ".",
    "observation": _TERMS,
    "policy": {"model": ".", "observation": _TERMS},
}


def _edited(data: Any, keys: Keys, value: Any) -> Any:
    """A copy with ``value`` at ``keys``; of a list of plain values, the whole of it is replaced."""
    keys = _list_of(keys)
    if not keys or not isinstance(data, dict):
        return {}
    copy = dict(data)
    parent: Any = copy
    for key in keys[:-1]:
        if not _has(parent, key) or not isinstance(parent[key], dict | list):
            return copy
        parent[key] = parent[key].copy()
        parent = parent[key]
    if value is _ABSENT and _stands_alone(keys):
        value = _ELEMENTS[keys[-2]]
    if value is not _ABSENT and (isinstance(parent, dict) or _has(parent, keys[-1])):
        parent[keys[-1]] = value
    elif _has(parent, keys[-1]):
        del parent[keys[-1]]
    return copy


def _has(parent: Any, key: str | int) -> bool:
    if isinstance(parent, dict):
        return key in parent
    return isinstance(parent, list) and isinstance(key, int) and key < len(parent)


def _list_of(keys: Keys) -> Keys:
    """The list that an element is in: one wrong element makes all of it unfit to be judged."""
    while keys and isinstance(keys[-1], int) and not _stands_alone(keys):
        keys = keys[:-1]
    return keys


def _stands_alone(keys: Keys) -> bool:
    """Whether an element is judged without the others of its list: a section among sections."""
    return len(keys) > 1 and isinstance(keys[-1], int) and keys[-2] in _ELEMENTS


def _related(a: Keys, b: Keys) -> bool:
    return a[: len(b)] == b or b[: len(a)] == a


def _keys(location: tuple[Any, ...], data: Any) -> Keys:
    """The keys of the file in the location of a pydantic error."""
    keys: list[str | int] = []
    for part in location:
        if part in TAGS or part == "[key]":
            continue
        # The types of a union are parts too, where nothing of the file can stand.
        if isinstance(data, list) != isinstance(part, int) and data is not None:
            break
        if not isinstance(data, dict | list | None):
            break
        keys.append(part)
        data = _item(data, part)
    return tuple(keys)


def _item(data: Any, key: str | int) -> Any:
    return data[key] if _has(data, key) else None


def _is_option(detail: Any, data: Any, keys: Keys) -> bool:
    """Whether an error says of the value at ``keys`` that it is not one of the types of its union."""
    found = _keys(detail["loc"], data)
    named = [part for part in detail["loc"] if part not in TAGS and part != "[key]"]
    return found == keys and len(named) > len(found)


def findings(problems: list[Problem], document: Source) -> list[Finding]:
    """What is told of them: each value once, in order."""
    lines: dict[tuple[int, int, Keys], Finding] = {}
    for problem in problems:
        at = problem.at or document.place(problem.keys, problem.at_key)
        found = problem.found or document.found(problem.keys)
        place = document.where(at, problem.keys)
        finding = Finding.of(place, found, problem.expected, problem.nearest)
        # The first problem of a value is the root of the others.
        lines.setdefault((*at, problem.keys), finding)
    ordered = [lines[key] for key in sorted(lines, key=lambda k: (k[0], k[1], written(k[2])))]
    if len(ordered) > MAX_PROBLEMS:
        more = len(ordered) - MAX_PROBLEMS
        place = Place(ordered[0].place.file)
        ordered[MAX_PROBLEMS:] = [Finding(f"and {more} more problems", place)]
    return ordered
