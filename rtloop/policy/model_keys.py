"""The keys of every model, whoever runs it: its file, and what fills the inputs that nothing observes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Strict, StringConstraints, Tag

from rtloop.config.section import Section
from rtloop.config.values import SHA256, ModelPath, Text


def _kind_of_number(value: object) -> str:
    return (
        "@truth" if isinstance(value, bool) else "@whole" if isinstance(value, int) else "@scalar"
    )


def _number_or_list(value: object) -> str:
    return "@list" if isinstance(value, (list, tuple)) else "@number"


_Scalar = Annotated[
    Annotated[bool, Tag("@truth")]
    | Annotated[int, Tag("@whole")]
    | Annotated[float, Field(allow_inf_nan=False), Tag("@scalar")],
    Discriminator(_kind_of_number),
]
_Scalars = Annotated[tuple[_Scalar, ...], Strict(False), Field(min_length=1)]
_Constant = Annotated[
    Annotated[_Scalar, Tag("@number")] | Annotated[_Scalars, Tag("@list")],
    Discriminator(_number_or_list),
]


class BorderKeys(Section):
    """What is known of a model before it is read."""

    model: ModelPath | None = Field(
        default=None,
        description="ONNX file, relative to this file; without it, `models` or `leapp`, what is observed is "
        "the action",
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
    sha256: Annotated[str, StringConstraints(pattern=SHA256)] | None = Field(
        default=None,
        description="of the model's file, followed by those of its weights; another file is refused",
    )
