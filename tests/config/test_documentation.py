"""docs/configuration.md and the schema say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rtloop import config
from rtloop.config.by_name import Hold
from rtloop.policy import ActionTerm, ObservationTerm
from rtloop.policy.controllers.controller import CONTROLLERS, Controller
from rtloop.policy.section import ModelConfig
from rtloop.policy.terms.limits import TorqueLimitConfig
from rtloop.policy.terms.phase import HoldConfig, PhaseConfig
from rtloop.policy.terms.start import StartConfig
from rtloop.policy.terms.terminations import (
    BadOrientationConfig,
    JointPosOutOfLimitConfig,
    TerminationsConfig,
)
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection
from rtloop.ports.qos import Qos
from rtloop.ports.stale import StandIn

from .example import EXAMPLE, complaints, loaded

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
TEXT = DOCS.read_text(encoding="utf-8")

FAMILIES: list[type[BaseModel]] = [InputSection, OutputSection, ObservationTerm]
"""Sections of several kinds."""


def section_of(kind: type[Controller]) -> type[BaseModel]:
    """The section under the key that names the kind."""
    section = kind.model_fields[kind.kind].annotation
    assert isinstance(section, type)
    return section


SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": config.Config,
    "links.NAME": config.LinkConfig,
    "links.NAME.reconnect": config.ReconnectConfig,
    "recording": config.RecordingConfig,
    "loops.NAME": config.LoopConfig,
    "loops.NAME.clock": config.ClockConfig,
    "loops.NAME.limit": config.LimitConfig,
    "loops.NAME.max_share": config.MaxShareConfig,
    "loops.NAME.inputs.NAME": InputSection,
    "loops.NAME.inputs.NAME.on_stale": StandIn,
    **{f"inputs: {kind.kind}": kind for kind in INPUTS},
    "loops.NAME.inputs.NAME.qos": Qos,
    "loops.NAME.policy": config.PolicyConfig,
    "loops.NAME.policy.models.NAME": ModelConfig,
    "loops.NAME.policy.observation[N]": ObservationTerm,
    "loops.NAME.policy.observation[N].phase": PhaseConfig,
    "loops.NAME.policy.observation[N].phase.hold": HoldConfig,
    "loops.NAME.policy.action": ActionTerm,
    "loops.NAME.policy.action.start": StartConfig,
    "loops.NAME.policy.action.torque_limit": TorqueLimitConfig,
    **{f"controllers: {kind.kind}": section_of(kind) for kind in CONTROLLERS},
    "loops.NAME.policy.terminations": TerminationsConfig,
    "loops.NAME.policy.terminations.bad_orientation": BadOrientationConfig,
    "loops.NAME.policy.terminations.joint_pos_out_of_limit": JointPosOutOfLimitConfig,
    "loops.NAME.switch": config.SwitchConfig,
    "loops.NAME.outputs.NAME": OutputSection,
    "loops.NAME.outputs.NAME.safe": Hold,
    **{f"outputs: {kind.kind}": kind for kind in OUTPUTS},
    "loops.NAME.realtime": config.RealtimeConfig,
}


def table(section: str) -> dict[str, tuple[str, str]]:
    """Key to type and default of a section's table."""
    (body,) = re.findall(rf"^##+ {re.escape(section)}\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S)
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| .*\|$", body, re.MULTILINE)
    return {key: (kind, default) for key, kind, default in rows}


def own_fields(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Those that a kind adds; of any other section, all."""
    base = next((b for b in FAMILIES if section in b.__subclasses__()), None)
    shared = base.model_fields if base is not None else {}
    fields = section.model_fields.items()
    return {f.alias or name: f for name, f in fields if name not in shared}


def shown(default: object) -> set[str]:
    """How the documentation may write a default of the schema."""
    if default is None:
        return {"none", "all", "any CPU", "the period", "as `safe`", "by class"}
    if default == {}:
        return {"none"}
    return {f"`{str(default).lower() if isinstance(default, bool) else default}`"}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_the_schema_is_documented_with_its_default(section: str) -> None:
    rows = table(section)
    fields = own_fields(SECTIONS[section])
    assert list(rows) == list(fields)
    for key, field in fields.items():
        kind, default = rows[key]
        if field.is_required():
            assert default == "required", key
        elif field.default_factory is not None:
            assert (kind, default) == ("section", "its defaults"), key
        else:
            assert default in shown(field.default), key


def test_every_section_of_the_schema_is_documented() -> None:
    kinds = {kind.__name__ for kind in (*INPUTS, *OUTPUTS)}
    families = {family.__name__ for family in FAMILIES}
    described = set(config.json_schema()["$defs"]) | {"Config"} | families
    assert described | kinds == {section.__name__ for section in SECTIONS.values()}


def test_every_word_of_a_choice_is_documented() -> None:
    for section, model in SECTIONS.items():
        properties = model.model_json_schema().get("properties", {})
        for key in own_fields(model):
            value = properties[key]
            words = value.get("enum", [value["const"]] if "const" in value else [])
            if words:
                assert table(section)[key][0] == ", ".join(f"`{word}`" for word in words), key


def test_the_example_of_the_documentation_loads(folder: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert loaded(example, folder).model_dump() == loaded(EXAMPLE, folder).model_dump()


def test_the_messages_of_the_documentation_are_real(folder: Path) -> None:
    quoted = re.findall(r"^balance\.yaml:\S+ (.*)$", TEXT, re.MULTILINE)
    text = EXAMPLE.replace("rate_hz: 1000", "rate_hz: fast").replace("deadline_ms", "dedline_ms")
    message = "\n".join(complaints(text, folder))
    assert len(quoted) == 2
    for line in quoted:
        assert all(part in message for part in line.split("…")), line
