"""Pydantic's verdicts in the words of a configuration: what was found, what would be right."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.config.sections import Config

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


def problem_of(detail: Any, keys: Keys) -> Problem:
    """One entry of ``ValidationError.errors()`` as a Problem. ``keys`` is where it stands."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(keys)
    if "[key]" in detail["loc"]:
        return _bad_name(keys)
    if kind == "missing":
        return _missing(keys)
    field = _field(keys)
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
        expected = _count(kind, context)
    elif kind == "string_pattern_mismatch":
        return Problem(keys, _NAME, nearest=_nearest_name(detail["input"]))
    elif kind == "string_too_long":
        expected = f"at most {context['max_length']} characters"
    elif detail["loc"][-1:] in (("@number",), ("@index",)):
        expected = _NUMBER_OR_LIST.get(kind, detail["msg"])
    else:
        expected = _TYPES.get(kind, detail["msg"])
    return Problem(keys, expected + _meaning(field, why=kind in _COMPARED), nearest=nearest)


_NAME = "a name of lower-case letters, digits and '_', beginning with a letter, 32 at most"


def _bad_name(keys: Keys) -> Problem:
    name = str(keys[-1])
    shown = name if name.isprintable() and len(name) <= 60 else ascii(name)[1:40] + "..."
    return Problem(keys, _NAME, f"the name '{shown}'", _nearest_name(name), at_key=True)


def _nearest_name(name: str) -> str | None:
    words = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    words = words.lstrip("0123456789_")[:32]
    return f"'{words}'" if words and words != name else None


def _unknown_key(keys: Keys) -> Problem:
    key, section = str(keys[-1]), _section(keys[:-1])
    known = _known_keys(section) if section is not None else []
    expected = f"one of {', '.join(known)}"
    homes = _homes(key)
    if homes:
        expected += f" ('{key}' belongs in {any_of(homes)})"
    match = [] if homes else get_close_matches(key.lower(), known, 1)
    nearest = f"known key '{match[0]}'" if match else None
    return Problem(keys, expected, "an unknown key", nearest, at_key=True)


def _missing(keys: Keys) -> Problem:
    field = _field(keys)
    if isinstance(keys[-1], int):
        # The only list of fixed length is a clip.
        return Problem(keys[:-1], f"a list of 2 numbers{_meaning(field)}")
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
    most = context["max_length"]
    return "a list of 2 numbers" if most == 2 else f"at most {most} elements"


def _words(field: FieldInfo | None) -> list[str]:
    """The words that a Literal field accepts."""
    if field is None:
        return []
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((list(get_args(kind)) for kind in kinds if _is_literal(kind)), [])


def _is_literal(kind: Any) -> bool:
    return getattr(get_origin(kind), "__name__", str(get_origin(kind))).endswith("Literal")


def _known_keys(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _field(keys: Keys) -> FieldInfo | None:
    """The schema's field that a value belongs to: for ``safe[0]``, the one of ``safe``."""
    while keys and isinstance(keys[-1], int):
        keys = keys[:-1]
    if not keys:
        return None
    section = _section(keys[:-1])
    if section is None:
        return None
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    return fields.get(str(keys[-1]))


def _section(keys: Keys) -> type[BaseModel] | None:
    """The section that the mapping at ``keys`` is, if it is one."""
    kind: Any = Config
    for key in keys:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {field.alias or name: field for name, field in kind.model_fields.items()}
            if key not in fields:
                return None
            kind = fields[str(key)].annotation
        else:  # the names of a mapping, the elements of a list
            kind = _inner(kind)
        kind = _unwrapped(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _unwrapped(kind: Any) -> Any:
    """Without Annotated and without ``| None``."""
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    options = [option for option in get_args(kind) if option is not type(None)]
    return options[0] if type(None) in get_args(kind) and len(options) == 1 else kind


def _inner(kind: Any) -> Any:
    args = get_args(kind)
    if get_origin(kind) is dict:
        return args[1]
    return args[0] if args else None


def _homes(key: str) -> list[str]:
    """Sections that know this key, as ``loops.NAME.realtime``."""
    found = []
    sections = {
        "the top level": (),
        "links.NAME": ("links", "n"),
        "recording": ("recording",),
        "loops.NAME": ("loops", "n"),
        "loops.NAME.limit": ("loops", "n", "limit"),
        "loops.NAME.inputs.NAME": ("loops", "n", "inputs", "n"),
        "loops.NAME.outputs.NAME": ("loops", "n", "outputs", "n"),
        "loops.NAME.policy": ("loops", "n", "policy"),
        "loops.NAME.policy.observation[N]": ("loops", "n", "policy", "observation", 0),
        "loops.NAME.policy.action": ("loops", "n", "policy", "action"),
        "loops.NAME.realtime": ("loops", "n", "realtime"),
    }
    for text, keys in sections.items():
        section = _section(keys)
        if section is not None and key in _known_keys(section):
            found.append(text)
    return found
