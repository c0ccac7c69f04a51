"""The base of every section of a configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Section(BaseModel):
    """Base of every section: immutable, no unknown keys, no conversions, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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
