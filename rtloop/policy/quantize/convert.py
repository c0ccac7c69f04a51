"""A model in int8 or float16, by onnxruntime's own tools; its inputs and outputs stay as they are."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rtloop.policy.composed import ComposedGraph, ModelStep
from rtloop.policy.library import import_onnxruntime
from rtloop.policy.trace import Trace

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

Kind = Literal["float16", "int8"]
Feeds = Sequence["Mapping[str, npt.NDArray[Any]]"]

#: A scale for each row of a weight exists from here on.
OPSET_OF_ROWS = 13
#: So many of the runs that were seen are enough for the ranges of values.
SAMPLES = 512


class NotQuantizedError(Exception):
    """A model has no such version. The message is the reason."""


def watched_for(graph: ComposedGraph) -> list[str]:
    """The tensors that models read: what ``converted`` needs of a trace."""
    models = (step for step in graph.steps if isinstance(step, ModelStep))
    return list(dict.fromkeys(name for step in models for name in step.inputs.values()))


def converted(
    graph: ComposedGraph,
    kind: Kind,
    seen: Trace | None,
    which: Callable[[ModelStep], bool] = lambda _: True,
) -> ComposedGraph:
    """The graph with its models in another type. ``seen`` are runs that int8 takes the ranges of values from,
    with ``watched_for`` of them; ``which`` tells the models that are to be.

    Raises NotQuantizedError where one of the models has no such version.
    """
    steps = list(graph.steps)
    if not any(isinstance(step, ModelStep) for step in steps):
        raise NotQuantizedError("it has no models")
    for index, step in enumerate(graph.steps):
        if isinstance(step, ModelStep) and which(step):
            feeds = [] if seen is None else _feeds(graph, step, seen)
            steps[index] = replace(step, model=convert(step.model, kind, feeds))
    return replace(graph, steps=tuple(steps))


def convert(model: onnx.ModelProto, kind: Kind, feeds: Feeds) -> onnx.ModelProto:
    """``feeds`` are values of its inputs, for int8. Raises NotQuantizedError."""
    convert_it: Callable[[], onnx.ModelProto]
    convert_it = (lambda: _int8(model, feeds)) if kind == "int8" else lambda: _float16(model)
    import_onnxruntime()
    try:
        with _silence():
            made = convert_it()
            _refuse_unrunnable(made)
    except NotQuantizedError:
        raise
    except Exception as error:  # of many types, and of many libraries
        text = " ".join(str(error).split()) or type(error).__name__
        raise NotQuantizedError(f"onnxruntime cannot make it {kind} ({text[:200]})") from error
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    return made


def _feeds(graph: ComposedGraph, step: ModelStep, seen: Trace) -> list[dict[str, npt.NDArray[Any]]]:
    """Values of the inputs of a model, of runs that lie evenly in time.

    State is that of the run after, which has the same range.
    """
    import numpy as np

    runs = len(seen.raw)
    picked = np.unique(np.linspace(0, runs - 1, min(runs, SAMPLES)).astype(int))
    feeds = []
    for run in picked:
        feed = {
            name: seen.watched[tensor][run].reshape(graph.tensors[tensor].shape)
            for name, tensor in step.inputs.items()
        }
        if all(np.isfinite(value).all() for value in feed.values() if value.dtype.kind == "f"):
            feeds.append(feed)
    return feeds


def _float16(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    made: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    OnnxModel(made).topological_sort()  # casts stand at the end, which ONNX has not
    if all(t.data_type != onnx.TensorProto.FLOAT16 for t in made.graph.initializer):
        raise NotQuantizedError("it has no weights in float32")
    return made


def _int8(model: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    """Static: QuantizeLinear and DequantizeLinear around what has int8, a scale for each row of weights."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
            return next(self._feeds, None)

    if not feeds:
        raise NotQuantizedError("no run of it with finite values was seen")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < OPSET_OF_ROWS:
        copy = version_converter.convert_version(copy, OPSET_OF_ROWS)
    with tempfile.TemporaryDirectory(prefix="rtloop-quantize-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            copy,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # of int8, onnxruntime fuses fewer operators
        )
        made = onnx.load(path)
    if all(node.op_type != "QuantizeLinear" for node in made.graph.node):
        operators = ", ".join(sorted({node.op_type for node in model.graph.node}))
        raise NotQuantizedError(f"onnxruntime has none of its operators in int8 ({operators})")
    return made


def _refuse_unrunnable(model: onnx.ModelProto) -> None:
    """What an operator lacks on this CPU is told when a session is made. Raises what onnxruntime does."""
    from rtloop.policy.library import session

    session(model)


@contextmanager
def _silence() -> Iterator[None]:
    """onnxruntime's tools warn of what they do by default, on the root logger; their sessions on stderr."""
    import onnxruntime

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(4)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(2)  # its default; it tells nobody what it is
        logging.disable(before)
