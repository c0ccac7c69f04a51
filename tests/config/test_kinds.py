"""What a kind must be to be registered, and what a section of kinds takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import Field, ValidationError

from rtloop.config.config import Config, json_schema
from rtloop.config.kinds import Kinds, KindSection
from rtloop.errors import ConfigError, RtloopError
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.memory import PreviousActionTerm
from rtloop.policy.terms.term import TERMS
from rtloop.ports.mailbox import MailboxInput, MailboxOutput
from rtloop.ports.port import INPUTS, OUTPUTS
from tests.ports.conftest import toy

from .example import EXAMPLE, loaded, small

__all__ = ["toy"]


class Base(KindSection):
    shared: int = Field(default=1, description="shared")


class One(Base):
    kind = "one"
    one: int = Field(description="one")
    extra: int = Field(default=0, description="extra")


class NoKey(Base):
    kind = "none"


class OptionalKey(Base):
    kind = "optional"
    optional: int = Field(default=1, description="not required")


class SharedKey(Base):
    kind = "shared"


class OthersKey(Base):
    kind = "extra"
    extra: int = Field(description="a further key of 'one'")


class ClaimsKey(Base):
    kind = "claims"
    claims: int = Field(description="claims")
    one: int = Field(default=0, description="the kind 'one'")


class Stranger(KindSection):
    kind = "stranger"
    stranger: int = Field(description="of another family")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (One, "the kind 'one' is registered already"),
        (NoKey, "the kind 'none' needs a required key 'none'"),
        (OptionalKey, "the kind 'optional' needs a required key 'optional'"),
        (SharedKey, "the kind 'shared' has the name of a key that all kinds share"),
        (OthersKey, "'extra' is a kind, and a further key of 'one'"),
        (ClaimsKey, "'one' is a kind, and a further key of 'claims'"),
        (Stranger, "the kind 'stranger' is no Base"),
    ],
)
def test_a_kind_that_could_not_be_told_from_others_is_refused(
    kind: type[Any], message: str
) -> None:
    kinds: Kinds[Base] = Kinds(Base, "rtloop.link.transports")
    kinds.register(One)
    with pytest.raises(ValueError, match=message):
        kinds.register(kind)
    assert list(kinds) == [One]


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package whose second module fails behind the kind that it registers."""
    package = tmp_path / "broken_kinds"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("")
    (package / "b.py").write_text(
        "from tests.config import test_kinds\n\n\n"
        "@test_kinds.registry.register\nclass B(test_kinds.Base):\n    kind = 'b'\n    b: int\n\n\n"
        "raise ValueError('not today')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "broken_kinds"
    for name in [name for name in sys.modules if name.startswith("broken_kinds")]:
        del sys.modules[name]


registry: Kinds[Base]


def test_a_broken_file_gives_the_same_error_every_time(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: Kinds[Base] = Kinds(Base, broken)
    monkeypatch.setattr(sys.modules[__name__], "registry", kinds, raising=False)
    for _ in range(3):
        with pytest.raises(RtloopError) as caught:
            list(kinds)
        assert str(caught.value) == (
            "the module broken_kinds.b cannot be imported: ValueError: not today"
        )


# --- sections made in Python ---


def with_parts(source: Any, term: Any, sink: Any) -> Config:
    policy = {"model": __file__, "observation": [term]}
    loop = {"class": "soft", "rate_hz": 100.0, "policy": policy}
    return Config.model_validate(
        {"loops": {"a": loop | {"inputs": {"i": source}, "outputs": {"o": sink}}}}
    )


SOURCE, TERM = MailboxInput(mailbox=(0.0,)), InputTerm(input="i")
SINK = MailboxOutput(mailbox=True, safe=(0.0,))


def test_a_section_made_in_python_is_taken() -> None:
    assert with_parts(SOURCE, TERM, SINK).loops["a"].inputs["i"] is SOURCE


class UnknownInput(MailboxInput):
    """A kind that nobody registered."""


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((SINK, TERM, SINK), "found MailboxOutput; expected InputSection"),
        ((SOURCE, TERM, SOURCE), "found MailboxInput; expected OutputSection"),
        ((TERM, TERM, SINK), "found InputTerm; expected InputSection"),
        ((SOURCE, SOURCE, SINK), "found MailboxInput; expected ObservationTerm"),
        ((UnknownInput(mailbox=(0.0,)), TERM, SINK), "found UnknownInput; expected InputSection"),
    ],
)
def test_a_section_of_another_family_is_refused(parts: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        with_parts(*parts)


def test_a_section_that_says_it_is_not_of_its_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="MailboxOutput.mailbox: found False; expected a value"):
        MailboxOutput(mailbox=False, safe=(0.0,))
    with pytest.raises(ConfigError, match="previous_action: found False; expected a value"):
        PreviousActionTerm(previous_action=False)


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        small("rate_hz: 10, inputs: {i: {mailbox: [1]}}"),
        small("rate_hz: 10, inputs: {i: {mailbox: [1], max_age_ms: null}}, limit: null"),
        small("rate_hz: 10, inputs: {i: {mailbox: [1]}}").replace(
            "safe: [0]", "size: 1, safe: {hold: i}"
        ),
        small("rate_hz: 10").replace("safe: [0]", 'names: [a], safe: {"*": 1}, max: {"*": null}'),
        small("rate_hz: 10, limit: {max_misses: 1}").replace("soft", "firm"),
        small("rate_hz: 10, limit: {max_misses: 0}").replace("soft", "hard"),
    ],
)
def test_what_is_dumped_can_be_loaded(text: str, folder: Path, toy: ModuleType) -> None:
    config = loaded(text, folder)
    again = Config.model_validate(config.model_dump(by_alias=True))
    assert (again.links, again.loops) == (config.links, config.loops)
    assert again.model_dump(by_alias=True) == config.model_dump(by_alias=True)


# --- the JSON Schema ---


@pytest.mark.parametrize("family", ["inputs", "outputs", "terms"])
def test_the_schema_takes_what_loading_takes_as_unsaid(family: str) -> None:
    sections = json_schema()["$defs"]
    if family == "terms":
        observation = sections["PolicyConfig"]["properties"]["observation"]["anyOf"]
        shown = observation[0]["items"]["oneOf"]
    else:
        (named,) = sections["LoopConfig"]["properties"][family]["patternProperties"].values()
        shown = named["oneOf"]
    families: dict[str, list[type[KindSection]]]
    families = {"inputs": [*INPUTS], "outputs": [*OUTPUTS], "terms": [*TERMS]}
    kinds = families[family]
    for kind, schema in zip(kinds, shown, strict=True):
        keys = schema["properties"]
        for other in kinds:
            for key in other.model_fields.keys() - kind.model_fields.keys():
                unsaid = {"enum": [None, False]} if key == other.kind else {"type": "null"}
                assert keys[key] == unsaid, key
        if keys[kind.kind].get("type") in (None, "boolean"):
            assert keys[kind.kind]["not"] == {"enum": [None, False]}
