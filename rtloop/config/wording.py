"""Pydantic's verdicts in the words of a configuration: what was found, what would be right."""

from __future__ import annotations

from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rtloop.config.config import Config
from rtloop.config.kinds import ANOTHER_SECTION, NOT_ONE_KIND, Kinds, KindSection
from rtloop.config.problem import Keys, Problem, any_of
from rtloop.config.values import PATTERNS

_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "is_instance_of": "the path of a file",
    "tuple_type": "a list",
    "dict_type": "a mapping of names",
    "model_type": "a mapping",
    "finite_number": "a finite number",
    "string_too_short": "a text that is not empty",
    "none_required": "nothing",
}
_NUMBER_OR_LIST = {"float_type": "a number, or a list of numbers", "int_type": "an index or a name"}
_COMPARED = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def problem_of(detail: Any, keys: Keys, data: Any, root: type[BaseModel] = Config) -> Problem:
    """One entry of ``ValidationError.errors()`` as a Problem.

    ``keys`` is where it stands, ``data`` the whole that was validated, ``root`` the section that it is.
    """
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == NOT_ONE_KIND:
        return Problem(keys, context["expected"], context["found"], at_key=True)
    if kind == ANOTHER_SECTION:
        return Problem(keys, f"a section {context['expected']}", f"a section {context['found']}")
    if kind == "kind_unset":
        return Problem((*keys, context["kind"]), "a value: null and false name no kind")
    if kind == "extra_forbidden":
        return _unknown_key(keys, data, root)
    if "[key]" in detail["loc"]:
        return _bad_name(keys)
    if kind == "missing":
        return _missing(keys, data, root)
    field = _field(keys, data, root)
    nearest = None
    if kind == "literal_error":
        words = _words(field)
        expected = any_of(words)
        match = get_close_matches(str(detail["input"]).lower(), words, 1)
        nearest = f"'{match[0]}'" if match else None
    elif kind in _COMPARED:
        phrase, key = _COMPARED[kind]
        expected = f"{phrase} {context[key]:.9g}"
    elif kind in ("too_short", "too_long"):
        expected = _fixed_list(field) or _count(kind, context)
    elif kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        expected = PATTERNS[context["pattern"]]
    elif kind == "string_pattern_mismatch":
        return Problem(keys, _NAME, nearest=_nearest_name(detail["input"]))
    elif kind == "string_too_long":
        expected = f"at most {context['max_length']} characters"
    elif detail["loc"][-1:] in (("@number",), ("@index",)) and "@names" not in detail["loc"]:
        expected = _NUMBER_OR_LIST.get(kind) or _TYPES.get(kind, detail["msg"])
    else:
        expected = _TYPES.get(kind, detail["msg"])
    return Problem(keys, expected + _meaning(field, why=kind in _COMPARED), nearest=nearest)


def union_problem(
    details: list[Any], keys: Keys, data: Any, root: type[BaseModel] = Config
) -> Problem:
    """What is wrong with a value that may be of several types, as each of them tells it."""
    expected = list(dict.fromkeys(_TYPES.get(d["type"], d["msg"]) for d in details))
    return Problem(keys, any_of(expected) + _meaning(_field(keys, data, root)))


_NAME = "a name of lower-case letters, digits and '_', beginning with a letter, 32 at most"


def _bad_name(keys: Keys) -> Problem:
    name = str(keys[-1])
    shown = name if name.isprintable() and len(name) <= 60 else ascii(name)[1:40] + "..."
    return Problem(keys, _NAME, f"the name '{shown}'", _nearest_name(name), at_key=True)


def _nearest_name(name: str) -> str | None:
    words = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    words = words.lstrip("0123456789_")[:32]
    return f"'{words}'" if words and words != name else None


def _unknown_key(keys: Keys, data: Any, root: type[BaseModel]) -> Problem:
    key, sections = str(keys[-1]), sections_at(keys[:-1], data, root)
    for section in sections:
        if issubclass(section, KindSection) and key in section.refused:
            return Problem(keys, section.refused[key])
    known = list(_fields(sections))
    expected = f"one of {', '.join(known)}"
    homes = _homes(key) if root is Config else []
    if homes:
        expected += f" ('{key}' belongs in {any_of(homes)})"
    match = [] if homes else get_close_matches(key.lower(), known, 1)
    nearest = f"known key '{match[0]}'" if match else None
    return Problem(keys, expected, "an unknown key", nearest, at_key=True)


def _missing(keys: Keys, data: Any, root: type[BaseModel]) -> Problem:
    field = _field(keys, data, root)
    if isinstance(keys[-1], int):
        return Problem(keys[:-1], f"{_fixed_list(field)}{_meaning(field)}")
    words = _words(field)
    choice = f": {any_of(words)}" if words else ""
    return Problem(keys, f"this required key{choice}{_meaning(field)}")


def _meaning(field: FieldInfo | None, why: bool = False) -> str:
    """A field's description in parentheses; its reasons, behind a semicolon, only with ``why``."""
    if field is None or not field.description:
        return ""
    return f" ({field.description if why else field.description.partition(';')[0]})"


def _count(kind: str, context: dict[str, Any]) -> str:
    if kind == "too_short":
        least = context["min_length"]
        return f"at least {least} element{'s' if least > 1 else ''}"
    return f"at most {context['max_length']} elements"


def _fixed_list(field: FieldInfo | None) -> str:
    """``a list of 2 numbers``; empty where a field has no list of fixed length."""
    annotation = None if field is None else _unwrapped(_unwrapped(field.annotation))
    elements = get_args(annotation)
    if get_origin(annotation) is not tuple or Ellipsis in elements:
        return ""
    words: dict[Any, str] = {float: "numbers", int: "whole numbers", str: "texts"}
    kinds = {_unwrapped(element) for element in elements}
    many = words.get(kinds.pop(), "values") if len(kinds) == 1 else "values"
    return f"a list of {len(elements)} {many}"


def _words(field: FieldInfo | None) -> list[str]:
    """The words that a Literal field accepts."""
    if field is None:
        return []
    kinds = [field.annotation, *map(_unwrapped, get_args(field.annotation))]
    return next((list(get_args(kind)) for kind in kinds if _is_literal(kind)), [])


def _is_literal(kind: Any) -> bool:
    return getattr(get_origin(kind), "__name__", str(get_origin(kind))).endswith("Literal")


def _field(keys: Keys, data: Any, root: type[BaseModel]) -> FieldInfo | None:
    """The schema's field that a value belongs to: for ``safe[0]``, the one of ``safe``."""
    while keys and isinstance(keys[-1], int):
        keys = keys[:-1]
    return _fields(sections_at(keys[:-1], data, root)).get(str(keys[-1])) if keys else None


def _fields(sections: list[type[BaseModel]]) -> dict[str, FieldInfo]:
    """Keys and fields of a section, or of all that it may be; a key that names a kind first."""
    fields = {f.alias or name: f for s in sections for name, f in s.model_fields.items()}
    kinds = [section.kind for section in sections if issubclass(section, KindSection)]
    return {key: fields[key] for key in (*kinds, *fields)}


def sections_at(keys: Keys, data: Any, root: type[BaseModel] = Config) -> list[type[BaseModel]]:
    """The section that the mapping at ``keys`` is; several where the data leaves its kind open."""
    annotation: Any = root
    sections: list[type[BaseModel]] = [root]
    for key in keys:
        data = _item(data, key)
        if sections:
            fields = _fields(sections)
            if key not in fields:
                return []
            annotation = fields[str(key)].annotation
        else:  # the names of a mapping, the elements of a list
            annotation = _inner(annotation)
        sections = _kinds(annotation, data)
        annotation = _unwrapped(annotation)
        by_name = any(get_origin(_unwrapped(o)) is dict for o in _options(annotation))
        models = _models(annotation)
        sections = sections or [m for m in models if not by_name or _says(data, m)]
    return sections


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a value may be, one of them or beside other types."""
    options = [_unwrapped(option) for option in _options(annotation)]
    return [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]


def _options(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; any other type alone."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _says(data: Any, section: type[BaseModel]) -> bool:
    """Whether a mapping has a key of a section."""
    return isinstance(data, dict) and not section.model_fields.keys().isdisjoint(data)


def _kinds(annotation: Any, data: Any) -> list[type[BaseModel]]:
    """The kinds that a section may be, if it has kinds: those that it names, or all."""
    metadata = getattr(annotation, "__metadata__", ())
    kinds = next((item for item in metadata if isinstance(item, Kinds)), None)
    return [] if kinds is None else [*(kinds.named_in(data) or kinds)]


def _item(data: Any, key: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(key)
    is_element = isinstance(data, list) and isinstance(key, int) and key < len(data)
    return data[key] if is_element else None


def _unwrapped(annotation: Any) -> Any:
    """Without Annotated and without ``| None``."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
            continue
        args = get_args(annotation)
        options = [option for option in args if option is not type(None)]
        if type(None) not in args or len(options) != 1:
            return annotation
        annotation = options[0]


def _inner(annotation: Any) -> Any:
    for option in map(_unwrapped, _options(annotation)):
        if get_origin(option) is dict:
            return get_args(option)[1]
    args = get_args(annotation)
    return args[0] if args else None


def _homes(key: str) -> list[str]:
    """Sections that know this key, as ``loops.NAME.realtime``."""
    found = []
    homes = {
        "the top level": (),
        "links.NAME": ("links", "n"),
        "recording": ("recording",),
        "loops.NAME": ("loops", "n"),
        "loops.NAME.limit": ("loops", "n", "limit"),
        "loops.NAME.inputs.NAME": ("loops", "n", "inputs", "n"),
        "loops.NAME.outputs.NAME": ("loops", "n", "outputs", "n"),
        "loops.NAME.policy": ("loops", "n", "policy"),
        "loops.NAME.clock": ("loops", "n", "clock"),
        "loops.NAME.switch": ("loops", "n", "switch"),
        "loops.NAME.policy.observation[N]": ("loops", "n", "policy", "observation", 0),
        "loops.NAME.policy.action": ("loops", "n", "policy", "action"),
        "loops.NAME.realtime": ("loops", "n", "realtime"),
    }
    for text, keys in homes.items():
        if key in _fields(sections_at(keys, None)):
            found.append(text)
    return found
