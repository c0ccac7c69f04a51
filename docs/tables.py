"""Writes the tables of the documentation that follow from the code: kinds of ports and terms, and words.

python docs/tables.py            # what stands between `<!-- NAME -->` and `<!-- /NAME -->` in docs/*.md
python docs/tables.py --check    # exit code 1, and the names, where a table is not what the code says
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rtloop import core
from rtloop.config.kinds import KindSection
from rtloop.policy.terms.term import TERMS, ObservationTerm
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection

HERE = Path(__file__).parent
_TABLE = re.compile(r"(<!-- (?P<name>[a-z ]+) -->\n)(?P<body>.*?)(<!-- /(?P=name) -->)", re.DOTALL)


def kinds_of(direction: str, kinds: list[type[KindSection]], base: type[BaseModel]) -> str:
    """A heading, a sentence and a table of its own keys for each kind."""
    parts = []
    for kind in kinds:
        rows = [_row(name, field, kind) for name, field in own_fields(kind, base).items()]
        parts.append(
            f"### {direction}: {kind.kind}\n\n{sentence(kind)}\n\n"
            "| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        )
    return "".join(parts)


def terms() -> str:
    """A row for each kind of term, followed by those of its further keys."""
    lines = ["| key | type | default | what the term observes |", "|---|---|---|---|"]
    for kind in TERMS:
        for name, field in own_fields(kind, ObservationTerm).items():
            meaning = sentence(kind) if name == kind.kind else None
            lines.append(_row(name, field, kind, meaning))
    return "\n".join(lines) + "\n"


def words(table: str) -> str:
    """A row for each word of a table of words.def."""
    with_remedy = any(word.remedy for word in core.WORDS[table].values())
    lines = ["| word | number | |" + (" what to do |" if with_remedy else "")]
    lines.append("|---|---|---|" + ("---|" if with_remedy else ""))
    for name, word in core.WORDS[table].items():
        remedy = f" {word.remedy} |" if with_remedy else ""
        lines.append(f"| `{name}` | {word.number} | {word.sentence} |{remedy}")
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "kinds of inputs": lambda: kinds_of("inputs", list(INPUTS), InputSection),
    "kinds of outputs": lambda: kinds_of("outputs", list(OUTPUTS), OutputSection),
    "kinds of terms": terms,
    "words of outcomes": lambda: words("outcomes"),
    "words of stages": lambda: words("stages"),
    "words of events": lambda: words("events"),
    "words of fault reasons": lambda: words("fault_reasons"),
}


def sentence(kind: type[BaseModel]) -> str:
    """The first paragraph of a class's documentation, on one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def own_fields(kind: type[BaseModel], base: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys that a kind adds to those that all kinds share."""
    return {k: f for k, f in kind.model_fields.items() if k not in base.model_fields}


def rewritten(text: str) -> str:
    """A document with every table made anew. Raises KeyError for a name that is no table's."""
    return _TABLE.sub(lambda m: f"{m[1]}{TABLES[m['name']]()}{m[4]}", text)


def stale_documents(folder: Path = HERE) -> Iterator[tuple[Path, str]]:
    """Each document that is not what the code says, and what it should be."""
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (wanted := rewritten(text)) != text:
            yield path, wanted


def _row(name: str, field: FieldInfo, kind: type[BaseModel], meaning: str | None = None) -> str:
    schema = kind.model_json_schema()["properties"][name]
    variants = [variant for variant in schema.get("anyOf", [schema]) if variant != {"type": "null"}]
    default = "required" if field.is_required() else _default(field.default)
    told = (meaning or field.description or "").replace("|", "\\|")
    return f"| `{name}` | {' or '.join(map(_type, variants))} | {default} | {told} |"


def _default(value: object) -> str:
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(schema: dict[str, object]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in list(schema["enum"]))  # type: ignore[call-overload]
    if schema["type"] == "array":
        return f"list of numbers, {schema.get('minItems', 0)} to {schema.get('maxItems', 'any')}"
    if schema["type"] == "string":
        return "name" if "pattern" in schema else "text"
    if schema["type"] == "boolean":
        return "truth value"
    word = "whole number" if schema["type"] == "integer" else "number"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    return word if low is None or high is None else f"{word}, {low} to {high}"


def main(arguments: list[str]) -> int:
    """Rewrites the documents, or with --check names those that are not up to date."""
    stale = list(stale_documents())
    for path, wanted in stale:
        print(path)
        if "--check" not in arguments:
            path.write_text(wanted, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
