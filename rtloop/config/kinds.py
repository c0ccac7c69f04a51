"""Sections of several kinds: which one it is says the one key that names it.

``{link: cart, max_age_ms: 5}`` is of the kind ``link``. A kind registers where it is written, and
a folder is searched for its kinds when one is first needed: nothing lists them, and a program may
add its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import (
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from rtloop.config.problem import each_of
from rtloop.config.section import Section
from rtloop.discovery import import_modules

if TYPE_CHECKING:
    from typing_extensions import Self

NOT_ONE_KIND = "not_one_kind"
"""Type of the pydantic error of a section that names no kind, or several."""
ANOTHER_SECTION = "kind_of_another_section"
"""Type of the pydantic error of an object that is of no kind of the section."""


class KindSection(Section):
    """Base of a section that is one of several kinds."""

    kind: ClassVar[str]
    """The key that names the kind; required, and no other kind has it."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Keys of another kind that are easily meant here, and what is expected instead."""

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Self:
        # A file that says so means another kind, and never comes here.
        if _is_unset(getattr(self, self.kind, True)):
            context = {"kind": self.kind}
            raise PydanticCustomError("kind_unset", "{kind} can be neither null nor false", context)
        return self


S = TypeVar("S", bound=KindSection)


class Kinds(Generic[S]):
    """The kinds of one section. ``Annotated[Base, kinds]`` is the type of such a section."""

    def __init__(self, base: type[Any], folder: str) -> None:
        """``folder`` is the package whose modules register the kinds that rtloop brings.

        ``base`` has the keys that all kinds share.
        """
        self._base = base
        self._folder = folder
        self._is_searched = False
        self._kinds: dict[str, type[S]] = {}

    def register(self, section: type[S]) -> type[S]:
        """Decorates the class of a kind.

        Raises ValueError where its key is taken, or could not tell it from the other kinds.
        """
        key = section.kind
        known = self._kinds.get(key)
        # The same class anew: its module failed after it, and is imported once more.
        if known is not None and (known is section or _written_at(known) != _written_at(section)):
            raise ValueError(f"the kind '{key}' is registered already")
        if not issubclass(section, self._base):
            raise ValueError(f"the kind '{key}' is no {self._base.__name__}")
        if key in self._base.model_fields:
            raise ValueError(f"the kind '{key}' has the name of a key that all kinds share")
        field = section.model_fields.get(key)
        if field is None or not field.is_required() or field.alias not in (None, key):
            raise ValueError(f"the kind '{key}' needs a required key '{key}'")
        for other in self._kinds.values():
            if other is known:
                continue
            for owner, name in ((other, key), (section, other.kind)):
                if name in owner.model_fields:
                    raise ValueError(f"'{name}' is a kind, and a further key of '{owner.kind}'")
        self._kinds[key] = section
        return section

    def unregister(self, kind: str) -> None:
        """Forgets a kind that a program added."""
        del self._kinds[kind]

    def __iter__(self) -> Iterator[type[S]]:
        """All kinds, in the order of their keys."""
        if not self._is_searched:
            import_modules(self._folder)
            self._is_searched = True
        return iter([self._kinds[key] for key in sorted(self._kinds)])

    def named_in(self, value: object) -> list[type[S]]:
        """The kinds that a mapping names: their key is there, and neither null nor false."""
        if not isinstance(value, dict):
            return []
        return [kind for kind in self if not _is_unset(value.get(kind.kind))]

    # --- what pydantic asks of a type ---

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validated)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"oneOf": [self._shown(kind, handler) for kind in self]}

    # --- inside ---

    def _validated(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, KindSection):
            if not any(type(value) is kind for kind in self):
                context = {"found": type(value).__name__, "expected": self._base.__name__}
                raise PydanticCustomError(
                    ANOTHER_SECTION, "found {found}; expected {expected}", context
                )
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("model_type", "Input should be a mapping")
        named = self.named_in(value)
        keys = {kind.kind for kind in self}
        unset = [key for key in value if key in keys and _is_unset(value[key])]
        value = {k: v for k, v in value.items() if k not in keys or not _is_unset(v)}
        if len(named) == 1:
            # A key of another kind that is left to its default says nothing.
            foreign = self._keys.difference(named[0].model_fields)
            value = {k: v for k, v in value.items() if k not in foreign or v is not None}
            return named[0].model_validate(value, context=info.context)
        problems = self._wrong_in_any_kind(value, info)
        # The key that names the kind may only be mistyped.
        if named or not any(problem["type"].type == "extra_forbidden" for problem in problems):
            error = _not_one([kind.kind for kind in named], sorted(keys), unset)
            problems.append(InitErrorDetails(type=error, loc=(), input=value))
        raise ValidationError.from_exception_data("section", problems)

    def _shown(self, kind: type[S], handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of a kind, with what ``_validated`` takes for a key of another kind unsaid."""
        schema = dict(handler.resolve_ref_schema(handler(kind.__pydantic_core_schema__)))
        unsaid: dict[str, Any] = {key: {"type": "null"} for key in self._keys}
        unsaid |= {other.kind: {"enum": [None, False]} for other in self}
        foreign = {key: unsaid[key] for key in sorted(self._keys) if key not in kind.model_fields}
        named = {"allOf": [schema["properties"][kind.kind]], "not": {"enum": [None, False]}}
        is_clear = schema["properties"][kind.kind].get("type") not in (None, "boolean")
        own = {} if is_clear else {kind.kind: named}
        schema["properties"] = {**schema["properties"], **own, **foreign}
        return schema

    @property
    def _keys(self) -> set[str]:
        return {key for kind in self for key in kind.model_fields}

    def _wrong_in_any_kind(self, value: object, info: ValidationInfo) -> list[Any]:
        """What is wrong whichever kind is meant."""
        found: dict[Any, Any] = {}
        times: Counter[Any] = Counter()
        for kind in self:
            try:
                kind.model_validate(value, context=info.context)
            except ValidationError as error:
                for detail in error.errors(include_url=False):
                    found[detail["type"], detail["loc"]] = detail
                    times[detail["type"], detail["loc"]] += 1
        n_kinds = len(self._kinds)
        return [
            InitErrorDetails(
                type=PydanticCustomError(detail["type"], detail["msg"], detail.get("ctx")),
                loc=detail["loc"],
                input=detail["input"],
            )
            for key, detail in found.items()
            # Keys that some kinds know, or do without, wait until the kind is clear.
            if key[0] not in ("missing", "extra_forbidden") or times[key] == n_kinds
        ]


def _written_at(section: type[Any]) -> tuple[str, str]:
    return section.__module__, section.__qualname__


def _is_unset(value: object) -> bool:
    return value is None or value is False


def _not_one(named: list[str], known: list[str], unset: list[str]) -> PydanticCustomError:
    """``unset`` are those that are there, and false or null: they name no kind."""
    if named:
        found = f"both {each_of(named)}" if len(named) == 2 else each_of(named)
    elif unset:
        found = f"{each_of(unset)} as false or null, which is as good as none"
    else:
        found = f"neither {' nor '.join(known)}" if len(known) == 2 else f"none of {each_of(known)}"
    context = {"found": found, "expected": f"exactly one of {each_of(known)}"}
    return PydanticCustomError(NOT_ONE_KIND, "found {found}; expected {expected}", context)
