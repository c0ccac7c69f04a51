"""A whole configuration: the sections under one roof, their rules judged, every value's place kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from rtloop.config.document import MAX_BYTES
from rtloop.config.problem import Keys, written
from rtloop.config.rules import broken_rules
from rtloop.config.section import Section, in_words_of_files
from rtloop.config.sections import LoopConfig, RecordingConfig
from rtloop.config.values import Name
from rtloop.config.yaml_text import as_yaml
from rtloop.errors import ConfigError, Finding, Place
from rtloop.link.section import LinkConfig

RULES_BROKEN = "rules_broken"
"""Type of the pydantic error that carries all broken rules in ``ctx["problems"]``."""


PYTHON = Path("<python>")
"""The path of a configuration that came from no file."""


class Config(Section):
    """The loops of one process, their links and their recording: a file's, or made in Python.

    In Python: ``Config(loops={"balance": {...}})``, with the keys of docs/configuration.md in mappings or
    in sections (``LoopConfig(...)``), as docs/python.md shows. Raises ConfigError.

    Two configurations are equal that have the same values, wherever these come from.
    """

    links: dict[Name, LinkConfig] = Field(default={}, description="link names and their devices")
    recording: RecordingConfig = Field(
        default_factory=RecordingConfig, description="the recorder process"
    )
    loops: dict[Name, LoopConfig] = Field(min_length=1, description="loop names and loops")

    _path: Path = PrivateAttr(PYTHON)
    _folder: Path = PrivateAttr(Path())
    """Where Python modules are looked for: of the file, of the process as it was made in Python."""
    _source_text: str = PrivateAttr("")
    _places: Mapping[Keys, tuple[int, int]] = PrivateAttr(default_factory=dict)
    _policy_at: Mapping[str, Keys] = PrivateAttr(default_factory=dict)
    """By loop: where in it its policy stands, if not at ``policy``."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            loops: Mapping[str, LoopConfig | Mapping[str, Any]],
            links: Mapping[str, LinkConfig | Mapping[str, Any]] = ...,
            recording: RecordingConfig | Mapping[str, Any] = ...,
        ) -> None: ...

    else:

        def __init__(self, /, **keys: Any) -> None:
            super().__init__(**keys)
            with suppress(FileNotFoundError):  # a working directory that was deleted
                self._folder = Path.cwd()
            self._source_text = self.to_yaml()
            if len(self._source_text) > MAX_BYTES:
                found = f"{len(self._source_text)} bytes as YAML"
                expected = f"at most {MAX_BYTES}: what is as large belongs into a model"
                raise ConfigError([Finding.of(Place(key="Config"), found, expected)])

        __init__.__pydantic_base_init__ = True

    @property
    def path(self) -> Path:
        """The file as it was named to ``load``; ``<python>`` for one that was made in Python."""
        return self._path

    @property
    def source_text(self) -> str:
        """The text that was loaded; in Python, what :meth:`to_yaml` gave: for the record."""
        return self._source_text

    def to_yaml(self) -> str:
        """What it says, as YAML that loads to an equal one, from any folder: paths of models are absolute.

        What was left to its default is left out. A Python function is its module's name: it is found beside
        the file that this is written to, or in sys.path.
        """
        return as_yaml(self.model_dump(mode="json", by_alias=True))

    def replace(self, **changes: Section | Mapping[str, Any]) -> Config:
        """A configuration with other values, judged as a whole.

        Mappings change the keys that they name, at any depth; whatever else is given, a section or a list,
        takes the place of what was there: ``replace(loops={"balance": {"rate_hz": 500}})``. Raises ConfigError.
        """
        said = self.model_dump(by_alias=True)
        loops = changes.get("loops")
        if isinstance(loops, Mapping):
            renamed = {name: in_words_of_files(loop, LoopConfig) for name, loop in loops.items()}
            changes = {**changes, "loops": renamed}
        merged: dict[str, Any] = _merged(said, changes)
        made = Config(**merged)
        made._folder = self._folder
        return made

    def readers(self, name: str, output: str) -> list[LoopConfig]:
        """The loops that read an output of the loop ``name``."""
        return [
            loop
            for loop in self.loops.values()
            if any(section.read_output == (name, output) for section in loop.inputs.values())
        ]

    def where(self, *keys: str | int) -> Place:
        """The place of a value, for errors found after loading: ``FILE:LINE:COL: where.the.key``.

        A key left to its default is shown at the nearest section that was written. In Python, the name of
        the argument: ``loops["balance"].rate_hz``.
        """
        if keys[2:3] == ("policy",) and (at := self._policy_at.get(str(keys[1]))):
            keys = (*keys[:2], *at, *keys[3:])
        if self._path == PYTHON:
            from rtloop.config.given import spoken  # which looks into sections

            key = spoken(keys, None, Config) or "Config"
            return Place(key=key, folder=str(self._folder))
        line, column = next(
            (self._places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self._places),
            (1, 1),
        )
        return Place(str(self._path), line, column, written(keys), str(self._folder))

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
            each[name] = self.with_values(loops=loops)
            each[name]._policy_at = {**self._policy_at, loop: keys}
        return each

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        mine, others = ((config.links, config.recording, config.loops) for config in (self, other))
        return mine == others

    def __repr__(self) -> str:
        loops = [f"{name}: {loop.loop_class}, {loop.rates}" for name, loop in self.loops.items()]
        links = [f"link {name}: {link.device}" for name, link in self.links.items()]
        return f"<Config {'; '.join([*loops, *links])}>"

    __str__ = __repr__

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


def label(loop: str, policy: str) -> str:
    """A policy of a loop, for people and in reports; the loop, where it has one."""
    return f"{loop}/{policy}" if policy else loop


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value.under(str(key)) if isinstance(value, Section) else value[key]
    return value


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors. Rules between keys are not in it."""
    return Config.model_json_schema(by_alias=True)
