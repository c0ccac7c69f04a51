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
    _policy_at: Mapping[str, Keys] = PrivateAttr(default_factory=dict)
    """By loop: where in it its policy stands, if not at ``policy``."""

    @property
    def path(self) -> Path:
        """The file as it was named to ``load``."""
        return self._path

    @property
    def source_text(self) -> str:
        """The text that was loaded, for the record."""
        return self._source_text

    def where(self, *keys: str | int) -> Place:
        """The place of a value, for errors found after loading: ``FILE:LINE:COL: where.the.key``.

        A key left to its default is shown at the nearest section that was written.
        """
        if keys[2:3] == ("policy",) and (at := self._policy_at.get(str(keys[1]))):
            keys = (*keys[:2], *at, *keys[3:])
        line, column = next(
            (self._places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self._places),
            (1, 1),
        )
        return Place(str(self._path), line, column, written(keys))

    def each_policy(self, loop: str) -> dict[str, Config]:
        """By each policy of a loop, "" the only one: this configuration, in which the loop has no other.

        Places of its ``policy`` are those of the file.
        """
        section = self.loops[loop]
        if not section.policies:
            return {"": self}
        each = {}
        for name, (keys, policy) in section.every_policy.items():
            loops = {**self.loops, loop: section.with_policy(policy)}
            each[name] = self.model_copy(update={"loops": loops})
            each[name]._policy_at = {**self._policy_at, loop: keys}
        return each

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


def label(loop: str, policy: str) -> str:
    """A policy of a loop, for people and in reports; the loop, where it has one."""
    return f"{loop}/{policy}" if policy else loop


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value.under(str(key)) if isinstance(value, Section) else value[key]
    return value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors. Rules between keys are not in it."""
    return Config.model_json_schema(by_alias=True)
