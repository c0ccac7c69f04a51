"""The tables of the documentation are what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from pydantic import ConfigDict, Field

from rtloop import core
from rtloop.config.kinds import KindSection
from rtloop.config.section import Section
from rtloop.config.values import (
    Milliseconds,
    Name,
    PositiveValues,
    Range,
    Selection,
    Text,
    Values,
)

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_document_is_behind_the_code(tables: ModuleType) -> None:
    stale = [path.name for path, _ in tables.stale_documents()]
    assert not stale, "run: python docs/tables.py"


def test_a_table_that_is_behind_is_found_and_written_anew(
    tables: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "recording.md"
    path.write_text("before\n<!-- words of outcomes -->\nold\n<!-- /words of outcomes -->\nafter\n")
    ((found, wanted),) = tables.stale_documents(tmp_path)
    assert found == path
    assert wanted.startswith("before\n")
    assert wanted.endswith("after\n")
    assert "old" not in wanted
    for name, word in core.WORDS["outcomes"].items():
        assert f"| `{name}` | {word.number} | {word.sentence} |" in wanted
    path.write_text(wanted)
    assert list(tables.stale_documents(tmp_path)) == []


# --- a kind with every sort of key ---


class Grip(Section):
    """A section within."""

    force: float = Field(default=1.0, ge=0, description="N")


class Handler:
    """A type that no JSON Schema can say."""


class RichInput(KindSection):
    """A kind whose keys
    are of every sort.

    The rest is for readers of the code.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)
    kind = "rich"

    rich: Name = Field(description="name | sign")
    grip: Grip = Field(default_factory=Grip, description="section")
    grips: tuple[Grip, ...] = Field(default=(), description="sections")
    perhaps: Grip | None = Field(default=None, description="section or none")
    either: int | str = Field(default=0, description="union")
    peers: dict[Name, int] = Field(default={}, description="mapping")
    labels: tuple[Text, ...] = Field(default=("a", "b"), description="texts")
    range_m: Range | None = Field(default=None, description="pair")
    mixed: tuple[int, str] = Field(default=(1, "a"), description="mixed")
    age_ms: Milliseconds | None = Field(default=None, description="time")
    delay_ms: float = Field(default=1.0, ge=0.5, le=5, description="time with a range")
    gain: Values = Field(default=1.0, description="per element")
    force: PositiveValues = Field(default=1.0, description="per element, positive")
    share: float = Field(default=0.5, gt=0, lt=1, description="open range")
    most: int | None = Field(default=None, ge=3, description="half a range")
    word: Literal["one"] = Field(default="one", description="one word")
    words: Literal["a", "b"] | None = Field(default=None, description="words")
    elements: Selection | None = Field(default=None, description="names or indices")
    nested: tuple[tuple[float, ...], ...] = Field(default=(), description="lists")
    other: int = Field(default=1, alias="class", description="alias")
    anything: Any = Field(default=None, description="anything")


class UnspeakableInput(RichInput):
    """A kind with a type of its own."""

    handler: Handler | None = Field(default=None, description="own type")


def test_every_sort_of_key_is_described(tables: ModuleType) -> None:
    text = tables.kinds_of("inputs", [RichInput], KindSection)
    assert text.startswith("### inputs: rich\n\nA kind whose keys are of every sort.\n\n| key |")
    rows = [line.split(" | ", 3) for line in text.replace("\\|", "!").split("\n") if "| `" in line]
    assert {key.strip("| `"): (kind, default) for key, kind, default, _ in rows} == {
        "rich": ("name", "required"),
        "grip": ("section", "its defaults"),
        "grips": ("list of sections", "none"),
        "perhaps": ("section", "none"),
        "either": ("whole number or text", "`0`"),
        "peers": ("mapping of names to whole number", "none"),
        "labels": ("list of texts", "`['a', 'b']`"),
        "range_m": ("list of 2 numbers", "none"),
        "mixed": ("list of whole number, text", "`[1, 'a']`"),
        "age_ms": ("time in ms", "none"),
        "delay_ms": ("time in ms, 0.5 to 5", "`1.0`"),
        "gain": ("number, per element", "`1.0`"),
        "force": ("number above 0, per element", "`1.0`"),
        "share": ("number, more than 0 and less than 1", "`0.5`"),
        "most": ("whole number, at least 3", "none"),
        "word": ("`one`", "`one`"),
        "words": ("`a`, `b`", "none"),
        "elements": ("list of texts or whole numbers, 1 to 1024", "none"),
        "nested": ("list of lists of numbers", "none"),
        "class": ("whole number", "`1`"),
        "anything": ("value", "none"),
    }


def test_a_kind_that_no_schema_can_say_is_described_all_the_same(tables: ModuleType) -> None:
    text = tables.kinds_of("inputs", [UnspeakableInput], KindSection)
    assert "| `handler` | value | none | own type |" in text
    assert "| `rich` | value | required | name \\| sign |" in text
