"""Nodes, constants and names: rtloop's part of a graph, around the policy's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rtloop.errors import ConfigError, Finding, Place, RtloopError
from rtloop.policy.composed import Feedback, TensorSpec
from rtloop.policy.inspect import Policy, PolicyTensor, walk_graphs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

Update = Callable[[str], str]
"""From the tensor of a state in this cycle to the tensor of it in the next."""


class GraphBuilder:
    """Adds rtloop's nodes before and behind the policy's, in the order in which they run.

    A tensor goes by its name, which a method that makes one returns. Names that rtloop makes begin
    with a prefix that the policy does not use. What a term needs comes first; the rest is for
    :func:`rtloop.policy.compose`, which calls ``add_policy`` and ``finished`` once each.
    """

    def __init__(self, policy: Policy, input_sizes: Mapping[str, int]) -> None:
        taken = {
            name.partition("/")[0]
            for graph in walk_graphs(policy.model.graph)
            for name in _value_names(graph)
        }
        self._policy = policy
        self._prefix = _unused("rtloop", taken)
        input_prefix = _unused("input", taken)
        self.inputs = {
            name: TensorSpec(f"{input_prefix}/{name}", (1, size))
            for name, size in input_sizes.items()
        }
        self._names: set[str] = set()
        self._nodes: list[onnx.NodeProto] = []
        self._states: list[tuple[TensorSpec, Update, Place, bool]] = []
        self._where = Place()
        # What every tensor that a node may read is: given from outside, fixed, or computed by us.
        self._given = {spec.name: ("float32", spec.shape) for spec in self.inputs.values()}
        self._fixed: dict[str, onnx.TensorProto] = {}
        self._computed: dict[str, onnx.NodeProto] = {}
        self._casts: dict[tuple[str, str], str] = {}
        self._raw_action: str | None = None

    # --- for terms ---

    def input(self, name: str) -> str:
        """The newest sample of a loop's input: float32 [1, n]."""
        return self.inputs[name].name

    def node(self, operator: str, inputs: Sequence[str], label: str, **attributes: Any) -> str:
        """A node of one output, which is called by the label, numbered where it is taken."""
        output = self._name(label)
        self._add(operator, inputs, output, attributes)
        return output

    def constant(self, value: npt.NDArray[np.float32] | npt.NDArray[np.int64], label: str) -> str:
        """A tensor of fixed values, called by the label, numbered where it is taken."""
        import onnx

        name = self._name(label)
        self._fixed[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def feedback(
        self, label: str, shape: tuple[int, ...], update: Update, *, of_applied: bool = False
    ) -> str:
        """State that the core carries over: float32, zeros in the first cycle.

        It follows what was observed; ``of_applied``, only the cycles whose command was applied.

        ``update`` adds the nodes that compute its next value. It is called last of all, when
        everything in this cycle is computed.
        """
        state = TensorSpec(self._name(label), shape)
        self._states.append((state, update, self._where, of_applied))
        self._given[state.name] = ("float32", shape)
        return state.name

    @property
    def action_size(self) -> int:
        """Elements of the policy's raw output."""
        return self._policy.action.size

    @property
    def raw_action(self) -> str:
        """What the policy answers, float32 [1, ``action_size``]. Only behind the policy."""
        if self._raw_action is None:
            raise RuntimeError("the raw action is known behind the policy: use it in an update")
        return self._raw_action

    # --- for compose ---

    @contextmanager
    def blaming(self, where: Place) -> Iterator[None]:
        """Whatever goes wrong inside is a ConfigError at ``where``.

        So is, later, what goes wrong in the updates of states that are made inside.
        """
        outer, self._where = self._where, where
        try:
            yield
        except RtloopError:
            raise
        except Exception as error:  # the code of a kind of term, and onnx, which raises many types
            text = " ".join(str(error).partition("\n\n")[0].split())
            found = f"a term whose nodes fail ({type(error).__name__}: {text})"
            expected = "nodes that the policy's graph can hold"
            raise ConfigError([Finding.of(where, found, expected)]) from error
        finally:
            self._where = outer

    def check(self, tensor: object, shape: tuple[int, ...]) -> None:
        """That what a term made is float32 of ``shape``. Raises ConfigError; inside ``blaming``."""
        expected = f"float32 {list(shape)}, one value for each of its elements"
        if not isinstance(tensor, str):
            found = f"a term that yields {type(tensor).__name__}, no name of a tensor"
        elif tensor not in self:
            found = f"a term that yields '{tensor}', which is no tensor"
        else:
            dtype, dimensions = self._type(tensor)
            if (dtype, dimensions) == ("float32", list(shape)):
                return
            shown = (
                "unknown shape" if dimensions is None else f"[{', '.join(map(str, dimensions))}]"
            )
            found = f"a term that yields {dtype} {shown}"
        raise ConfigError([Finding.of(self._where, found, expected)])

    def add_policy(self, observation: str) -> None:
        """The policy's nodes, reading ``observation`` ([1, n] float32) and its own state."""
        policy = self._policy
        shape = (1, policy.observation.size)
        observation = self._reshape(observation, shape, policy.observation.shape, "observation")
        self._assign(observation, policy.observation)
        for before, after in policy.state:
            state = self.feedback(f"state/{before.name}", before.shape, self._next_state(after))
            self._assign(state, before)
        self._nodes.extend(policy.model.graph.node)
        for tensor in (policy.action, *(after for _, after in policy.state)):
            self._given[tensor.name] = (tensor.dtype, tensor.shape)
        raw = self._reshape(
            policy.action.name, policy.action.shape, (1, self.action_size), "action"
        )
        self._raw_action = self._cast(raw, policy.action.dtype, "float32")

    def finished(self, action: str) -> tuple[onnx.ModelProto, TensorSpec, tuple[Feedback, ...]]:
        """The whole model, the tensor of its ``action`` ([1, m] float32), and its state."""
        import onnx

        output = TensorSpec(self._name("action"), (1, self.action_size))
        self._add("Identity", [action], output.name)
        feedback = tuple(self._fed_back(*state) for state in self._states)
        model = onnx.ModelProto()
        model.CopyFrom(self._policy.model)
        graph = model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._fixed.values())
        inputs = [*self.inputs.values(), *(state for state, _, _, _ in self._states)]
        outputs = [output, *(TensorSpec(item.output_name, item.shape) for item in feedback)]
        for values, specs in ((graph.input, inputs), (graph.output, outputs)):
            del values[:]
            values.extend(
                onnx.helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, spec.shape)
                for spec in specs
            )
        # From IR version 4 on a weight need not be an input, and so is a constant.
        model.ir_version = max(model.ir_version, 4)
        return model, output, feedback

    # --- inside ---

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._given or tensor in self._fixed or tensor in self._computed

    def _type(self, tensor: str) -> tuple[str, list[int | str] | None]:
        """Element type and dimensions of a tensor of ours; "?" is a dimension that varies."""
        import onnx

        model = self._model_of(tensor)
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
        graph = inferred.graph
        types = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input)}
        if tensor in self._fixed:
            fixed = self._fixed[tensor]
            return _dtype(fixed.data_type), list(fixed.dims)
        if tensor not in types:
            return "a value", None
        graph.output.add(name=tensor).type.tensor_type.CopyFrom(types[tensor])
        onnx.checker.check_model(inferred)
        found = types[tensor]
        if not found.HasField("shape"):
            return _dtype(found.elem_type), None
        sizes = [d.dim_value if d.HasField("dim_value") else "?" for d in found.shape.dim]
        return _dtype(found.elem_type), sizes

    def _model_of(self, tensor: str) -> onnx.ModelProto:
        """A model of the nodes of ours that compute a tensor."""
        import onnx

        needed, rest = {tensor}, [tensor]
        while rest:
            node = self._computed.get(rest.pop())
            new = set(node.input if node is not None else ()) - needed
            needed |= new
            rest += new
        model = onnx.ModelProto(ir_version=max(self._policy.model.ir_version, 4))
        model.opset_import.extend(self._policy.model.opset_import)
        model.graph.name = "term"
        # In the order in which they were added, each behind what it reads.
        model.graph.node.extend(node for name, node in self._computed.items() if name in needed)
        model.graph.initializer.extend(t for name, t in self._fixed.items() if name in needed)
        model.graph.input.extend(
            onnx.helper.make_tensor_value_info(name, _element_type(dtype), shape)
            for name, (dtype, shape) in self._given.items()
            if name in needed
        )
        return model

    def _fed_back(
        self, state: TensorSpec, update: Update, where: Place, of_applied: bool
    ) -> Feedback:
        if where:
            with self.blaming(where):
                value = update(state.name)
                self.check(value, state.shape)
        else:
            value = update(state.name)
        # One tensor may be the action and the next state: the state gets a name of its own.
        output = self._name(f"next/{state.name.removeprefix(self._prefix + '/')}")
        self._add("Identity", [value], output)
        return Feedback(state.name, output, state.shape, of_applied)

    def _next_state(self, after: PolicyTensor) -> Update:
        return lambda _: self._cast(after.name, after.dtype, "float32")

    def _assign(self, value: str, tensor: PolicyTensor) -> None:
        """Gives an input of the policy its value, float32 until here."""
        self._add("Identity", [self._cast(value, "float32", tensor.dtype)], tensor.name)

    def _reshape(self, value: str, old: tuple[int, ...], new: tuple[int, ...], label: str) -> str:
        import numpy as np

        if old == new:
            return value
        shape = self.constant(np.array(new, np.int64), f"{label}_shape")
        return self.node("Reshape", [value, shape], f"{label}_reshaped")

    def _cast(self, value: str, old: str, new: str) -> str:
        if old == new:
            return value
        if (value, new) not in self._casts:
            to = _element_type(new)
            self._casts[value, new] = self.node("Cast", [value], f"cast/{value}", to=to)
        return self._casts[value, new]

    def _add(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        import onnx

        for value in inputs:
            if value and value not in self:  # an optional input may be left out as ""
                raise ValueError(f"{operator} reads '{value}', which is no tensor")
        name = f"{self._prefix}/node/{output}"
        node = onnx.helper.make_node(
            operator, list(inputs), [output], name=name, **(attributes or {})
        )
        self._refuse_unknown(node)
        self._nodes.append(node)
        self._computed[output] = node

    def _refuse_unknown(self, node: onnx.NodeProto) -> None:
        """Raises ValueError for an operator that the policy's version of ONNX does not have."""
        import onnx

        if node.domain not in ("", "ai.onnx"):
            return  # an extension, which onnx does not know
        opsets = {
            item.domain or "ai.onnx": item.version for item in self._policy.model.opset_import
        }
        opset = opsets.get("ai.onnx", 1)
        try:
            onnx.defs.get_schema(node.op_type, opset, "")
        except onnx.defs.SchemaError:
            schemas = onnx.defs.get_all_schemas_with_history()
            versions = [
                s.since_version for s in schemas if (s.name, s.domain) == (node.op_type, "")
            ]
            if not versions:
                raise ValueError(f"ONNX has no operator {node.op_type}") from None
            raise ValueError(
                f"opset {opset} of the policy has no operator {node.op_type}, which came with opset "
                f"{min(versions)}"
            ) from None

    def _name(self, label: str) -> str:
        wanted = name = f"{self._prefix}/{label}"
        number = 2
        while name in self._names:
            name, number = f"{wanted}_{number}", number + 1
        self._names.add(name)
        return name


def _element_type(dtype: str) -> int:
    import numpy as np
    import onnx

    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _dtype(element_type: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(element_type))


def _value_names(graph: onnx.GraphProto) -> Iterable[str]:
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)


def _unused(prefix: str, taken: set[str]) -> str:
    while prefix in taken:
        prefix += "_"
    return prefix
