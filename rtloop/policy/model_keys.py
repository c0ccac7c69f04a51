"""The keys of every model, whoever runs it: its file, and what fills the inputs that nothing observes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, StringConstraints

from rtloop.config.section import Section
from rtloop.config.values import ModelPath, Text

_Scalar = bool | int | Annotated[float, Field(allow_inf_nan=False)]
_Constant = _Scalar | Annotated[tuple[_Scalar, ...], Strict(False), Field(min_length=1)]


class BorderKeys(Section):
    """What is known of a model before it is read."""

    model: ModelPath | None = Field(
        default=None,
        description="ONNX file, relative to this file; required without `models` or `leapp`",
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
        default=None,
        description="of the model's file, followed by those of its weights; another file is refused",
    )
