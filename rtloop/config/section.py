"""The base of every section of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_INSTEAD = "expected Config.replace(...), which makes another one"


class FrozenDict(dict[Any, Any]):
    """A mapping of a section: a value that is put in later would be judged by nobody."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(f"a configuration stays as it was judged; {_INSTEAD}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[Any, Any]]]:
        return FrozenDict, (dict(self),)


class Section(BaseModel):
    """Base of every section: immutable, no unknown keys, no conversions, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **keys: Any) -> None:
        """From Python: mappings and sections, lists, tuples and arrays, texts and paths alike.

        Raises ConfigError with every problem found, each with the name of its argument.
        """
        from rtloop.config.given import Given  # which looks into sections

        given = Given(keys, type(self))
        try:
            context = {"folder": ""}
            self.__pydantic_validator__.validate_python(
                given.data, self_instance=self, context=context
            )
        except ValidationError as error:
            raise given.refused(error) from None
        given.refuse()

    # As pydantic marks its own: sections within sections are not made by it.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _keep(self) -> Self:
        for name, value in self.__dict__.items():
            if type(value) is dict:
                self.__dict__[name] = FrozenDict(value)
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Raises TypeError with ``update``: pydantic judges none of it, no class, limit or safe command."""
        if update:
            raise TypeError(f"model_copy(update=...) judges nothing; {_INSTEAD}")
        return super().model_copy(deep=deep)

    def with_values(self, **values: Any) -> Self:
        """A copy with other values, by the names of fields. Nothing is judged: what is given is right."""
        return super().model_copy(update=values)

    def under(self, key: str) -> Any:
        """The value of a key, as the file calls it. Raises AttributeError."""
        names = {field.alias: name for name, field in type(self).model_fields.items()}
        return getattr(self, names.get(key, key))

    @model_serializer(mode="wrap")
    def _what_was_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was said, and no defaults: rules judge what was said, also of a section that was dumped."""
        keys = [(name, field.alias or name) for name, field in type(self).model_fields.items()]
        said = {key for names in keys if names[0] in self.model_fields_set for key in names}
        return {key: value for key, value in handler(self).items() if key in said}


def name_in_python(field: str, alias: str | None) -> str:
    """What the argument is called: as the key of a file, but for a word of Python (``class``, ``from``)."""
    return field if alias is None or iskeyword(alias) else alias


def in_words_of_files(section: Any, kind: type[BaseModel]) -> Any:
    """A mapping with the keys of a file where the names in Python differ: ``class``, which is no name there."""
    if not isinstance(section, Mapping):
        return section
    keys = {
        name: field.alias
        for name, field in kind.model_fields.items()
        if field.alias not in section and name_in_python(name, field.alias) != field.alias
    }
    return {keys.get(key) or key: value for key, value in section.items()}
