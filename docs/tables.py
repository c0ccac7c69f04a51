"""Writes the tables of the documentation: kinds of ports and terms, words, codes, scores of policies.

python docs/tables.py            # what stands between `<!-- NAME -->` and `<!-- /NAME -->` in docs/*.md
python docs/tables.py --check    # exit code 1, and the names, where a table is not what the code says
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.fields import FieldInfo

from rtloop import core
from rtloop.config.kinds import KindSection
from rtloop.demos.quadruped.live import live_table
from rtloop.demos.quadruped.scores import read_scores, table
from rtloop.errors import EXIT_CODES
from rtloop.nodes import parameters as node_parameters
from rtloop.policy.controllers.controller import CONTROLLERS
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


def controllers() -> str:
    """A heading, a sentence and a table of the keys of its section for each kind."""
    parts = []
    for kind in CONTROLLERS:
        section = kind.model_fields[kind.kind].annotation
        assert isinstance(section, type)
        rows = [_row(name, field, section) for name, field in section.model_fields.items()]
        parts.append(
            f"### controllers: {kind.kind}\n\n{sentence(kind)} {sentence(section)}\n\n"
            "| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        )
    return "".join(parts)


def words(table: str) -> str:
    """A row for each word of a table of words.def."""
    with_remedy = any(word.remedy for word in core.WORDS[table].values())
    lines = ["| word | number | |" + (" what to do |" if with_remedy else "")]
    lines.append("|---|---|---|" + ("---|" if with_remedy else ""))
    for name, word in core.WORDS[table].items():
        remedy = f" {word.remedy} |" if with_remedy else ""
        lines.append(f"| `{name}` | {word.number} | {word.sentence} |{remedy}")
    return "\n".join(lines) + "\n"


def exit_codes() -> str:
    """A row for each exit code."""
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return f"| code | |\n|---|---|\n{rows}"


TABLES: dict[str, Callable[[], str]] = {
    "kinds of inputs": lambda: kinds_of("inputs", list(INPUTS), InputSection),
    "kinds of outputs": lambda: kinds_of("outputs", list(OUTPUTS), OutputSection),
    "kinds of terms": terms,
    "kinds of controllers": controllers,
    "words of outcomes": lambda: words("outcomes"),
    "words of stages": lambda: words("stages"),
    "words of events": lambda: words("events"),
    "words of port events": lambda: words("port_events"),
    "exit codes": exit_codes,
    "parameters of loop node": node_parameters.table,
    "score of the quadruped": lambda: "\n".join(table(read_scores())) + "\n",
    "live walk of the quadruped": lambda: "\n".join(live_table()) + "\n",
    "words of fault reasons": lambda: words("fault_reasons"),
}


def sentence(kind: type[BaseModel]) -> str:
    """The first paragraph of a class's documentation, on one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def own_fields(kind: type[BaseModel], base: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys that a kind adds to those that all kinds share; the one that names it comes first."""
    own = {k: f for k, f in kind.model_fields.items() if k not in base.model_fields}
    named = getattr(kind, "kind", None)
    return dict(sorted(own.items(), key=lambda item: item[0] != named))


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
    key = field.alias or name
    whole = _schema(kind)
    schema = whole.get("properties", {}).get(key, {})
    default = "required" if field.is_required() else _default(field)
    told = (meaning or field.description or "").replace("|", "\\|").replace("\n", " ")
    return f"| `{key}` | {_type(schema, whole.get('$defs', {}), key)} | {default} | {told} |"


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    try:
        return kind.model_json_schema()
    except PydanticInvalidForJsonSchema:  # a type of its own that no schema can say
        return {}


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or value in ({}, (), []):
        return "none"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(schema: dict[str, Any], sections: dict[str, Any], key: str = "") -> str:
    """What a value is, in the words of "How values are read". ``key`` tells times from numbers."""
    if "$ref" in schema:
        schema = sections.get(str(schema["$ref"]).rpartition("/")[2], {})
    (*combined,) = (schema[word] for word in ("anyOf", "oneOf", "allOf") if word in schema)
    if combined:
        return _any_of([v for v in combined[0] if v.get("type") != "null"], sections, key)
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return _list(schema, sections)
    if kind == "object":
        if "properties" in schema:
            return "section"
        values = [*schema.get("patternProperties", {}).values()]
        values += [v for v in [schema.get("additionalProperties")] if isinstance(v, dict)]
        return f"mapping of names to {_any_of(values, sections)}" if values else "mapping of names"
    if kind == "string":
        return "name" if "pattern" in schema else "text"
    if kind == "boolean":
        return "truth value"
    if kind not in ("integer", "number"):
        return "value"
    word = "whole number" if kind == "integer" else "number"
    if key.endswith("_ms"):
        word = "time in ms"
        if {key: schema.get(key) for key in _TIME} == _TIME:
            return word
    return word + _range(schema, "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def _any_of(variants: list[dict[str, Any]], sections: dict[str, Any], key: str = "") -> str:
    types = [variant.get("type") for variant in variants]
    if types == ["number", "array"] and variants[1].get("items", {}).get("type") == "number":
        low = variants[0].get("exclusiveMinimum")
        return f"number{'' if low is None else f' above {low}'}, per element"
    return " or ".join(dict.fromkeys(_type(variant, sections, key) for variant in variants))


def _list(schema: dict[str, Any], sections: dict[str, Any]) -> str:
    """``list of numbers, 1 to 1024``, or with the type of each where they differ."""
    each = [_type(item, sections) for item in schema.get("prefixItems", [])]
    if each:
        alike = _many(each[0]) if len(set(each)) == 1 else ", ".join(each)
        return f"list of {len(each)} {alike}" if len(set(each)) == 1 else f"list of {alike}"
    elements = _many(_type(schema.get("items", {}), sections))
    return f"list of {elements}" + _range(schema, "minItems", "", "maxItems", "")


def _many(word: str) -> str:
    """Several of a type, without its range."""
    return " or ".join(
        one.replace("list of", "lists of", 1) if one[-1] in "`s" else f"{one}s"
        for one in (part.partition(",")[0] for part in word.split(" or "))
    )


def _range(schema: dict[str, Any], low: str, above: str, high: str, below: str) -> str:
    least, most = schema.get(low), schema.get(high)
    if least is not None and most is not None:
        return f", {least} to {most}"
    bounds = [("at least", least), ("more than", schema.get(above))]
    bounds += [("at most", most), ("less than", schema.get(below))]
    told = " and ".join(f"{phrase} {value}" for phrase, value in bounds if value is not None)
    return f", {told}" if told else ""


_TIME = {"minimum": 0.001, "maximum": 3_600_000}
"""The range of a time that has no range of its own."""


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
