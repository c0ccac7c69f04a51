"""A whole configuration: the sections under one roof, their rules judged, every value's place kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from rtloop.config.problem import Keys, written
from rtloop.config.rules import broken_rules
from rtloop.config.section import Section
from rtloop.config.sections import LoopConfig, RecordingConfig
from rtloop.config.values import Name
from rtloop.errors import Place
from rtloop.link.section import LinkConfig

RULES_BROKEN = "rules_broken"
"""Type of the pydantic error that carries all broken rules in ``ctx["problems"]``."""


class Config(Section):
    """The loops of one process, their links and their recording."""

    links: dict[Name, LinkConfig] = Field(default={}, description="link names and their devices")
    recording: RecordingConfig = Field(
        default_factory=RecordingConfig, description="the recorder process"
    )
    loops: dict[Name, LoopConfig] = Field(min_length=1, description="loop names and loops")

    _path: Path = PrivateAttr(Path("<python>"))
    _source_text: str = PrivateAttr("")
    _places: Mapping[Keys, tuple[int, int]] = PrivateAttr(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file as it was named to ``load``."""
        return self._path

    @property
    def source_text(self) -> str:
        """The text that was loaded, for the record."""
        return self._source_text

    def readers(self, name: str, output: str) -> list[LoopConfig]:
        """The loops that read an output of the loop ``name``."""
        return [
            loop
            for loop in self.loops.values()
            if any(section.read_output == (name, output) for section in loop.inputs.values())
        ]

    def where(self, *keys: str | int) -> Place:
        """The place of a value, for errors found after loading: ``FILE:LINE:COL: where.the.key``.

        A key left to its default is shown at the nearest section that was written.
        """
        line, column = next(
            (self._places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self._places),
            (1, 1),
        )
        return Place(str(self._path), line, column, written(keys))

    @model_validator(mode="after")
    def _bind_inputs(self) -> Config:
        for loop in self.loops.values():
            loop.bind(self.loops)
        return self

    @model_validator(mode="after")
    def _judge_rules(self) -> Config:
        problems = list(broken_rules(self.links, self.loops))
        if problems:
            text = "\n".join(
                f"{written(p.keys)}: found {p.found or repr(_at(self, p.keys))}; "
                f"expected {p.expected}"
                for p in problems
            )
            context: dict[str, Any] = {"text": text, "problems": problems}
            raise PydanticCustomError(RULES_BROKEN, "{text}", context)
        return self


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value.under(str(key)) if isinstance(value, Section) else value[key]
    return value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors. Rules between keys are not in it."""
    return Config.model_json_schema(by_alias=True)
