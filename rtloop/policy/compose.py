"""Observation terms, policy and action term as one ONNX graph.

The user's nodes stay untouched: rtloop's own nodes produce the value the policy reads and consume
the value it writes. However many terms there are, they become at most one node of each kind,
because on small policies the time goes by the number of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.errors import ConfigError
from rtloop.policy.inspect import Policy, load_policy, walk_graphs
from rtloop.policy.terms.term import ActionTerm, ObservationTerm, PerElement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx


@dataclass(frozen=True)
class TensorSpec:
    """A float32 input or output of the composed graph."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Feedback:
    """State: after every run, ``output_name`` is copied to ``input_name``.

    float32 of ``shape`` on both sides. Zeros before the first cycle and after every reset.
    """

    input_name: str
    output_name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class ComposedGraph:
    """What the core runs. All tensors at the border are float32 of fixed shape.

    ``model`` is a serialised ONNX model. Its inputs are ``inputs`` (one [1, n] per loop input, in
    the order of the configuration) and the feedback inputs; its outputs are ``action`` ([1, m],
    after the action term) and the feedback outputs. ``sha256`` is that of the user's file.

    A NaN or infinity in the observation or in the policy's raw output always leaves as a NaN in
    ``action``, whatever clips lie between: the core only has to check what it is about to write.
    """

    model: bytes
    inputs: tuple[TensorSpec, ...]
    action: TensorSpec
    feedback: tuple[Feedback, ...]
    sha256: str
    observation_size: int


def compose(
    model: str | Path | bytes,
    inputs: Mapping[str, int],
    observation: Sequence[ObservationTerm] = (),
    action: ActionTerm | None = None,
    state: Mapping[str, str] | None = None,
    fix_dimensions: Mapping[str, int] | None = None,
) -> ComposedGraph:
    """Builds the graph of a loop from the user's policy.

    ``inputs`` maps the names of the loop's inputs to their sizes. ``observation`` terms are
    concatenated in order; without any, all inputs are. ``state`` and ``fix_dimensions``: see
    :func:`rtloop.policy.load_policy`.

    Raises ConfigError when the policy, a term, or their sizes are wrong.
    """
    import onnx

    policy = load_policy(model, state, fix_dimensions)
    for name, size in inputs.items():
        if size < 1:
            raise ConfigError(f"input {name!r} has size {size}; it must be at least 1")
    terms = list(observation) or [ObservationTerm(input=name) for name in inputs]
    graph = _GraphBuilder(policy, inputs)
    graph.add_observation(terms, inputs)
    graph.add_action(action or ActionTerm())
    graph.add_state()
    composed = graph.finished()
    onnx.checker.check_model(composed, full_check=True)
    return ComposedGraph(
        model=composed.SerializeToString(deterministic=True),
        inputs=tuple(graph.inputs.values()),
        action=TensorSpec(graph.action_name, (1, policy.action.size)),
        feedback=tuple(graph.feedback),
        sha256=policy.sha256,
        observation_size=policy.observation.size,
    )


class _GraphBuilder:
    """Collects rtloop's nodes before and behind the policy's own."""

    def __init__(self, policy: Policy, inputs: Mapping[str, int]) -> None:
        self._policy = policy
        taken = {
            name.partition("/")[0]
            for graph in walk_graphs(policy.model.graph)
            for name in _value_names(graph)
        }
        self._prefix = _unused("rtloop", taken)
        input_prefix = _unused("input", taken)
        self.inputs = {
            name: TensorSpec(f"{input_prefix}/{name}", (1, size)) for name, size in inputs.items()
        }
        self.feedback: list[Feedback] = []
        self.action_name = f"{self._prefix}/action"
        self._before: list[onnx.NodeProto] = []
        self._behind: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._observation = ""  # the selected values, before scale, offset and clip
        self._previous_action = f"{self._prefix}/previous_action"

    def add_observation(self, terms: list[ObservationTerm], inputs: Mapping[str, int]) -> None:
        """From the loop's inputs to the value that the policy reads."""
        import numpy as np

        policy = self._policy
        sizes = _term_sizes(terms, inputs, policy.action.size)
        total = sum(sizes)
        if total != policy.observation.size:
            parts = ", ".join(
                f"{term.label}: {size}" for term, size in zip(terms, sizes, strict=True)
            )
            raise ConfigError(
                f"the observation has {total} values ({parts}), but the policy's input "
                f"{policy.observation} takes {policy.observation.size}"
            )
        # Where each source begins in the vector of all of them.
        sources: dict[str, int] = {}
        widths = {spec.name: spec.size for spec in self.inputs.values()}
        widths[self._previous_action] = policy.action.size
        picked: list[int] = []
        for term in terms:
            name = self._previous_action
            if term.input is not None:
                name = self.inputs[term.input].name
            if name not in sources:
                sources[name] = sum(widths[source] for source in sources)
            indices = range(widths[name]) if term.indices is None else term.indices
            picked += [sources[name] + index for index in indices]
        if self._previous_action in sources:
            self.feedback.append(
                Feedback(
                    self._previous_action,
                    f"{self._prefix}/raw_action",
                    (1, policy.action.size),
                )
            )
        nodes = self._before
        value = next(iter(sources))
        if len(sources) > 1:
            value = self._node(nodes, "Concat", list(sources), "joined", axis=1)
        if picked != list(range(sum(widths[source] for source in sources))):
            indices_name = self._constant(np.array(picked, np.int64), "indices")
            value = self._node(nodes, "Gather", [value, indices_name], "selected", axis=1)
        self._observation = value
        value = self._affine_and_clip(nodes, value, list(zip(terms, sizes, strict=True)), "term")
        value = self._reshape(nodes, value, (1, total), policy.observation.shape)
        value = self._cast(nodes, value, "float32", policy.observation.dtype)
        self._node(nodes, "Identity", [value], policy.observation.name, absolute=True)

    def add_action(self, action: ActionTerm) -> None:
        """From the value the policy writes to the command."""
        import numpy as np

        policy, nodes = self._policy, self._behind
        size = policy.action.size
        _check_term(action, "the action term", size)
        raw = self._reshape(nodes, policy.action.name, policy.action.shape, (1, size))
        raw = self._cast(nodes, raw, policy.action.dtype, "float32")
        if any(feedback.input_name == self._previous_action for feedback in self.feedback):
            self._node(nodes, "Identity", [raw], "raw_action")
        value = self._affine_and_clip(nodes, raw, [(action, size)], "action")

        # Adds 0 * observation, which is NaN when an element is not finite. Without it a clip, of
        # ours or of the policy, or Min and Max of onnxruntime before 1.20, would turn a broken
        # sample into a plausible command. One Gemm is the cheapest node that does this.
        zeros = self._constant(np.zeros((policy.observation.size, size), np.float32), "guard")
        value = self._node(nodes, "Gemm", [self._observation, zeros, value], "guarded")
        if action.clip is not None:
            zeros = self._constant(np.zeros((size, size), np.float32), "action_guard")
            value = self._node(nodes, "Gemm", [raw, zeros, value], "action_guarded")
        self._node(nodes, "Identity", [value], "action")

    def add_state(self) -> None:
        """The policy's own recurrent state, cast to float32 at the border where it is not."""
        for before, after in self._policy.state:
            into, out = f"{self._prefix}/state/{before.name}", f"{self._prefix}/next/{before.name}"
            value = self._cast(self._before, into, "float32", before.dtype)
            self._node(self._before, "Identity", [value], before.name, absolute=True)
            value = self._cast(self._behind, after.name, after.dtype, "float32")
            self._node(self._behind, "Identity", [value], out, absolute=True)
            self.feedback.append(Feedback(into, out, before.shape))

    def finished(self) -> onnx.ModelProto:
        """The whole model. Call it once, last."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._policy.model)
        graph = model.graph
        own = list(graph.node)
        del graph.node[:]
        graph.node.extend([*self._before, *own, *self._behind])
        graph.initializer.extend(self._constants)
        inputs = list(self.inputs.values())
        inputs += [TensorSpec(item.input_name, item.shape) for item in self.feedback]
        outputs = [TensorSpec(self.action_name, (1, self._policy.action.size))]
        outputs += [TensorSpec(item.output_name, item.shape) for item in self.feedback]
        for values, specs in ((graph.input, inputs), (graph.output, outputs)):
            del values[:]
            values.extend(
                onnx.helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, spec.shape)
                for spec in specs
            )
        # From IR version 4 on a weight need not be an input, and so is a constant.
        model.ir_version = max(model.ir_version, 4)
        return model

    def _affine_and_clip(
        self,
        nodes: list[onnx.NodeProto],
        value: str,
        terms: Sequence[tuple[ObservationTerm | ActionTerm, int]],
        label: str,
    ) -> str:
        """Scale, offset and clip of all terms at once; a step that no term uses is left out."""
        scale = _per_element((term.scale, 1.0, size) for term, size in terms)
        offset = _per_element((term.offset, 0.0, size) for term, size in terms)
        bounds = [(term.clip or (-math.inf, math.inf), size) for term, size in terms]
        low = _per_element((bound[0], 0.0, size) for bound, size in bounds)
        high = _per_element((bound[1], 0.0, size) for bound, size in bounds)
        for operator, operand, neutral in (
            ("Mul", scale, 1.0),
            ("Add", offset, 0.0),
            ("Max", low, -math.inf),
            ("Min", high, math.inf),
        ):
            if (operand != neutral).any():
                constant = self._constant(operand, f"{label}_{operator.lower()}_by")
                value = self._node(
                    nodes, operator, [value, constant], f"{label}_{operator.lower()}"
                )
        return value

    def _reshape(
        self,
        nodes: list[onnx.NodeProto],
        value: str,
        old: tuple[int, ...],
        new: tuple[int, ...],
    ) -> str:
        import numpy as np

        if old == new:
            return value
        label = "observation" if nodes is self._before else "action"
        shape = self._constant(np.array(new, np.int64), f"{label}_shape")
        return self._node(nodes, "Reshape", [value, shape], f"{label}_reshaped")

    def _cast(self, nodes: list[onnx.NodeProto], value: str, old: str, new: str) -> str:
        import numpy as np
        import onnx

        if old == new:
            return value
        name = f"{self._prefix}/cast/{value}"
        if any(name in node.output for node in nodes):
            return name  # one output can be the action and the next state
        to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(new))
        return self._node(nodes, "Cast", [value], name, absolute=True, to=to)

    def _node(
        self,
        nodes: list[onnx.NodeProto],
        operator: str,
        inputs: list[str],
        output: str,
        *,
        absolute: bool = False,
        **attributes: Any,
    ) -> str:
        import onnx

        name = output if absolute else f"{self._prefix}/{output}"
        nodes.append(
            onnx.helper.make_node(
                operator, inputs, [name], name=f"{self._prefix}/node/{name}", **attributes
            )
        )
        return name

    def _constant(self, value: npt.NDArray[np.float32] | npt.NDArray[np.int64], name: str) -> str:
        import onnx

        self._constants.append(onnx.numpy_helper.from_array(value, f"{self._prefix}/{name}"))
        return f"{self._prefix}/{name}"


def _value_names(graph: onnx.GraphProto) -> Iterable[str]:
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)


def _unused(prefix: str, taken: set[str]) -> str:
    while prefix in taken:
        prefix += "_"
    return prefix


def _term_sizes(
    terms: list[ObservationTerm], inputs: Mapping[str, int], action_size: int
) -> list[int]:
    """The number of values of each term. Raises ConfigError when a term is wrong."""
    if not terms:
        raise ConfigError("the loop has no input to observe; add one under `inputs`")
    sizes = []
    for number, term in enumerate(terms):
        where = f"observation term {number}"
        if (term.input is None) != term.previous_action:
            raise ConfigError(f"{where} needs exactly one of `input` and `previous_action: true`")
        if term.input is not None and term.input not in inputs:
            raise ConfigError(
                f"{where}: no input {term.input!r}; the loop's inputs: "
                f"{', '.join(map(repr, inputs)) or 'none'}"
            )
        width = action_size if term.input is None else inputs[term.input]
        wrong = [index for index in term.indices or () if not 0 <= index < width]
        if wrong or term.indices == ():
            raise ConfigError(
                f"{where}: {term.label} has {width} values, 0 to {width - 1}, "
                f"and indices {wrong or '[]'} are selected"
            )
        size = width if term.indices is None else len(term.indices)
        _check_term(term, f"{where} ({term.label})", size)
        sizes.append(size)
    return sizes


def _check_term(term: ObservationTerm | ActionTerm, where: str, size: int) -> None:
    for key, value in (("scale", term.scale), ("offset", term.offset)):
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if isinstance(value, tuple) and len(value) != size:
            raise ConfigError(
                f"{where}: `{key}` has {len(value)} values for {size} elements; "
                "give one number, or one per element"
            )
        if not all(math.isfinite(number) for number in values):
            raise ConfigError(f"{where}: `{key}` is {value}; it must be finite")
    if term.clip is not None and not term.clip[0] < term.clip[1]:  # refuses NaN as well
        raise ConfigError(
            f"{where}: `clip` is {list(term.clip)}; it must be [low, high], low < high"
        )


def _per_element(
    parts: Iterable[tuple[PerElement | None, float, int]],
) -> npt.NDArray[np.float32]:
    """One row, float32 [1, sum of sizes], from (value, default, size) of each term."""
    import numpy as np

    rows = [
        np.broadcast_to(np.asarray(default if value is None else value, np.float32), (size,))
        for value, default, size in parts
    ]
    return np.concatenate(rows).reshape(1, -1)
