"""The tables of the documentation are what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from rtloop import core

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
