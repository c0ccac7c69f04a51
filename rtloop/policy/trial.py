"""A policy's first runs, before it meets a machine: does it run, and what shapes come out?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtloop.policy.library import import_onnxruntime

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

#: Types of the numbers that a policy may answer; the composed graph casts from and to float32.
FLOAT_TYPES = ("float32", "float64", "float16")
#: Types that a policy may use at its border.
BORDER_TYPES = (*FLOAT_TYPES, "int64", "int32", "uint8", "bool")

#: How many elements these give is decided by the values they read.
_DATA_DEPENDENT = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})


@dataclass(frozen=True)
class TriedOutput:
    """An output as the runs gave it."""

    name: str
    is_tensor: bool
    shape: tuple[int, ...] = ()
    """In the first run."""
    dtype: str = ""
    varies: str = ""
    """What shows that another run may give another shape; empty where nothing does."""
    is_finite: bool = True
    """Whether the first run, which is on zeros, gave neither NaN nor infinity."""
    at_zeros: npt.NDArray[Any] | None = None
    """What the first run gave."""


def run_on_trial(
    model: onnx.ModelProto,
    inputs: Mapping[str, tuple[tuple[int, ...], str]],
    fixed: Mapping[str, npt.NDArray[Any]],
) -> list[TriedOutput]:
    """Runs a policy on zeros, and, for the shapes, on other values. ``inputs``: shape and numpy type, by name.

    ``fixed`` are the inputs that are always the same.

    Raises what onnxruntime raises when it refuses the model, or its run on zeros.
    """
    import numpy as np

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; its log lines would repeat it
    session = onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=0,  # to the same provider; it prints so, where JSON may be expected
    )
    names = [info.name for info in model.graph.output]
    runs = []
    for number, feed in enumerate(_feeds(inputs)):
        try:
            runs.append(session.run(names, {**feed, **fixed}))
        except Exception:
            # It may refuse values that are none of an observation; but zeros are in every warm-up.
            if number == 0:
                raise
    is_open = {info.name: not _is_fixed(info.shape) for info in session.get_outputs()}
    outputs = []
    for name, *values in zip(names, *runs, strict=True):
        first = values[0]
        if not isinstance(first, np.ndarray):
            outputs.append(TriedOutput(name, is_tensor=False))
            continue
        shapes = dict.fromkeys(tuple(value.shape) for value in values)
        varies = ""
        if len(shapes) > 1:
            varies = " or ".join(str(list(shape)) for shape in shapes)
        elif is_open[name] and (operators := _operators_behind(model, name) & _DATA_DEPENDENT):
            varies = f"it comes from {', '.join(sorted(operators))}"
        is_finite = first.dtype.kind != "f" or bool(np.isfinite(first).all())
        outputs.append(
            TriedOutput(name, True, first.shape, first.dtype.name, varies, is_finite, first)
        )
    return outputs


def _feeds(
    inputs: Mapping[str, tuple[tuple[int, ...], str]],
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Zeros, ones, noise about zero, and noise that is large."""
    import numpy as np

    random = np.random.default_rng(0)

    def noise(scale: float) -> dict[str, npt.NDArray[Any]]:
        return {
            name: (scale * random.standard_normal(shape)).astype(dtype)
            for name, (shape, dtype) in inputs.items()
        }

    yield {name: np.zeros(shape, dtype) for name, (shape, dtype) in inputs.items()}
    yield {name: np.ones(shape, dtype) for name, (shape, dtype) in inputs.items()}
    yield noise(1.0)
    yield noise(100.0)


def _is_fixed(shape: list[Any]) -> bool:
    return all(isinstance(size, int) for size in shape)


def _operators_behind(model: onnx.ModelProto, output: str) -> set[str]:
    """The operators that an output comes from, those in the bodies of If, Loop and Scan included."""
    by_output = {name: node for node in model.graph.node for name in node.output}
    operators: set[str] = set()
    rest, seen = [output], {output}
    while rest:
        node = by_output.get(rest.pop())
        if node is None:
            continue
        operators.update(_operators_of(node))
        new = set(node.input) - seen
        seen |= new
        rest += new
    return operators


def _operators_of(node: onnx.NodeProto) -> Iterator[str]:
    yield node.op_type
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for nested in inner.node:
                yield from _operators_of(nested)


def why_refused(message: str) -> tuple[str, str]:
    """What onnxruntime says against a model, and what to do."""
    version = import_onnxruntime().__version__
    opset = re.search(r"official support for domain ai\.onnx is till opset (\d+)", message)
    ir = re.search(r"model IR version: (\d+), max supported IR version: (\d+)", message)
    again = "export again with opset_version=17, or upgrade onnxruntime"
    if opset:
        newest = int(opset.group(1))
        return f"its opset is too new for onnxruntime {version} (newest: {newest})", again
    if ir:
        found = f"its IR version {ir.group(1)} is too new for onnxruntime {version}"
        return f"{found} (newest: {ir.group(2)})", again
    told = " ".join(message.split())
    return f"onnxruntime {version} cannot run it: {told}", "export the policy again, or mend it"
