"""The keys of every model, whoever runs it: its file, and what fills the inputs that nothing observes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Annotated

from pydantic import Field, Strict, StringConstraints

from rtloop.config.problem import Keys, Problem
from rtloop.config.section import Section
from rtloop.config.values import ModelPath, Text

_Scalar = bool | int | Annotated[float, Field(allow_inf_nan=False)]
_Constant = _Scalar | Annotated[tuple[_Scalar, ...], Strict(False), Field(min_length=1)]


class BorderKeys(Section):
    """What is known of a model before it is read."""

    model: ModelPath | None = Field(
        default=None, description="ONNX file, relative to this file; required without `models`"
    )
    fix_dimensions: dict[Text, Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        default={}, description="names of dynamic dimensions and the size to fix them to"
    )
    state: dict[Text, Text] = Field(
        default={}, description="recurrent state as pairs of graph input: graph output"
    )
    constants: dict[Text, _Constant] = Field(
        default={}, description="inputs that never change, and their values"
    )
    counters: dict[Text, Annotated[int, Field(ge=-(2**53), le=2**53)]] = Field(
        default={}, description="inputs that count the runs of the policy, and where they begin"
    )
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="of the model's file; another file is refused"
    )


def file_rules(keys: Keys, model: Path) -> Iterator[Problem]:
    """Broken rules of the path of a model, which stands at ``keys``."""
    if os.path.isfile(model):
        if not os.access(model, os.R_OK):
            yield Problem(
                keys, f"read permission: chmod u+r {quote(str(model))}", f"'{model}', not readable"
            )
        return
    if os.path.isdir(model):
        yield Problem(keys, "an .onnx file", f"the folder '{model}'")
        return
    if os.path.exists(model):
        yield Problem(
            keys, "an .onnx file", f"'{model}', a pipe, socket or device and no regular file"
        )
        return
    try:
        names = sorted(n for n in os.listdir(model.parent)[:10_000] if n.endswith(".onnx"))
    except OSError:
        expected = f"the path of a file, relative to this one; there is no folder '{model.parent}'"
        yield Problem(keys, expected)
        return
    expected = f"a file in '{model.parent}'"
    if not names:
        expected += ", which holds no .onnx file"
    elif len(names) <= 5:
        expected += f", which holds {', '.join(names)}"
    nearest = get_close_matches(model.name, names, 1)
    yield Problem(keys, expected, nearest=f"'{nearest[0]}'" if nearest else None)
