"""Tensors, nodes and states: how terms, models and actions become the steps of one graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rtloop.errors import ConfigError, Finding, Place, RtloopError
from rtloop.policy.composed import CallStep, Feedback, ModelStep, NodeStep, Step, TensorSpec
from rtloop.policy.node_types import inferred

if TYPE_CHECKING:
    import numpy.typing as npt

    from rtloop.policy.callable.function import PolicyFunction
    from rtloop.policy.model_file import PolicyTensor
    from rtloop.policy.roles import Stage

Update = Callable[[str], str]
"""From the tensor of a state in this cycle to the tensor of it in the next."""


@dataclass(frozen=True)
class _State:
    spec: TensorSpec
    update: Update
    where: Place
    of_applied: bool
    each_cycle: bool


class GraphBuilder:
    """Adds steps in the order in which they run.

    A tensor goes by its name, which a method that makes one returns. What a term needs comes first;
    the rest is for :func:`rtloop.policy.compose`.
    """

    def __init__(
        self,
        input_sizes: Mapping[str, int],
        *,
        period_s: Fraction | None = None,
        every: int = 1,
        answers: Mapping[str, PolicyTensor] | None = None,
        group: Callable[[str], str] | None = None,
        models_of_terms: Mapping[str, Stage] | None = None,
    ) -> None:
        """``group`` composes the group of a name, when it is first read. ``period_s`` is that of the loop's
        cycles, in every so-many-th of which the policy runs.

        ``answers`` are the outputs that models answer with, as ``MODEL.OUTPUT``; ``models_of_terms`` are
        those of terms that are models, by their ``source``.
        """
        self.inputs = {
            name: TensorSpec(f"input/{name}", (1, size)) for name, size in input_sizes.items()
        }
        self.tensors: dict[str, TensorSpec] = {spec.name: spec for spec in self.inputs.values()}
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self.steps: list[Step] = []
        self.cycle_s = period_s
        self.every = every
        self.models_of_terms = dict(models_of_terms or {})
        self._group = group
        self._answer_tensors = dict(answers or {})
        self._states: list[_State] = []
        self._where = Place()
        self._once: dict[tuple[object, bool], tuple[str, set[str]]] = {}
        self._in_each_cycle = False
        self._of_each_cycle: set[str] = set()  # tensors that steps yield
        self._of_policy: set[str] = set()
        self._awaited: set[str] = set()  # answers of the cycle before that were read
        self._answers: dict[str, Callable[[], str]] = {}
        self._raw_action: str | None = None
        self._taken_action: str | None = None
        self._action_size = 0
        self.checked: list[str] = []
        self.last_command_size = 0
        self.last_command_tensor = ""
        self.cycles_tensor = ""
        self._open: dict[str, list[int | str]] = {}  # of a tensor whose shape is not fixed

    # --- for terms ---

    @property
    def period_s(self) -> Fraction | None:
        """The nominal time between two runs of the steps that are being added."""
        if self.cycle_s is None or self._in_each_cycle:
            return self.cycle_s
        return self.cycle_s * self.every

    @contextmanager
    def each_cycle(self, is_so: bool = True) -> Iterator[None]:
        """What is added inside runs in the cycles between those of the policy, too; or, not so, does not."""
        outer, self._in_each_cycle = self._in_each_cycle, is_so and self.every > 1
        try:
            yield
        finally:
            self._in_each_cycle = outer

    def input(self, name: str) -> str:
        """The newest sample of a loop's input: float32 [1, n]."""
        return self.inputs[name].name

    def vector(self, name: str) -> str:
        """The values of a loop's input, or of a group of the policy: float32 [1, n]."""
        if name in self.inputs or self._group is None:
            return self.input(name)
        group = self._group
        return self.once(("group", name), lambda: group(name))

    def size(self, tensor: str) -> int:
        """The number of elements of a tensor."""
        return self.tensors[tensor].size

    def held(self, tensor: str) -> str:
        """The values of the last run of the policy: what each cycle reads anew is kept."""
        if self.every == 1 or tensor in self._of_policy:
            return tensor
        return self.once(("held", tensor), lambda: self.node("Identity", [tensor], "held"))

    def node(self, operator: str, inputs: Sequence[str], label: str, **attributes: Any) -> str:
        """A node of one output, which is called by the label, numbered where it is taken."""
        output = self._name(label)
        for value in inputs:
            if value not in self.tensors:
                raise ValueError(f"{operator} reads '{value}', which is no tensor")
        step = NodeStep(operator, tuple(inputs), output, attributes, self._in_each_cycle)
        dtype, shape = inferred(step, self.tensors, self.constants)
        if not all(isinstance(size, int) for size in shape):
            self._open[output] = shape
        fixed = tuple(size if isinstance(size, int) else 1 for size in shape)
        self.tensors[output] = TensorSpec(output, fixed, dtype)
        self._add(step, output)
        return output

    def constant(self, value: npt.NDArray[Any], label: str) -> str:
        """A tensor of fixed values, called by the label, numbered where it is taken."""
        name = self._name(label)
        self.tensors[name] = TensorSpec(name, value.shape, value.dtype.name)
        self.constants[name] = value
        return name

    def feedback(
        self,
        label: str,
        shape: tuple[int, ...],
        update: Update,
        *,
        of_applied: bool = False,
        initial: npt.NDArray[Any] | None = None,
        dtype: str = "float32",
    ) -> str:
        """State that the core carries over: ``initial`` in the first cycle, or zeros.

        It follows what was observed; ``of_applied``, only the cycles whose command was applied.

        ``update`` adds the nodes that compute its next value. It is called last of all, when
        everything in this cycle is computed.
        """
        if initial is not None:
            shape, dtype = initial.shape, initial.dtype.name
        state = TensorSpec(self._name(label), shape, dtype)
        made = _State(state, update, self._where, of_applied, self._in_each_cycle)
        self._states.append(made)
        self.tensors[state.name] = state
        if initial is not None:
            self.constants[state.name] = initial
        return state.name

    def once(self, key: object, make: Callable[[], str]) -> str:
        """What ``make`` has made for this key, now or before: once of the policy, once in each cycle.

        It is made anew where it read what a model answered in the cycle before, and that has run since.
        """
        at = (key, self._in_each_cycle)
        if at not in self._once or self._once[at][1] & self._answers.keys():
            outer, self._awaited = self._awaited, set()
            try:
                self._once[at] = (make(), self._awaited)
            finally:
                self._awaited = outer
        made, awaited = self._once[at]
        self._awaited |= awaited
        return made

    def must_be_finite(self, tensor: str) -> str:
        """The same values: where they are not finite, nothing but a NaN leaves the graph."""
        if not self._in_each_cycle:
            tensor = self.held(tensor)
        if tensor not in self.checked:
            self.checked.append(tensor)
        return tensor

    @property
    def has_run(self) -> str:
        """bool [1, 1]: false in the first cycle after a reset, true from then on."""
        import numpy as np

        def make() -> str:
            yes = self.constant(np.ones((1, 1), bool), "true")
            return self.feedback("has_run", (1, 1), lambda _: yes, dtype="bool")

        return self.once("has_run", make)

    @property
    def last_command(self) -> str:
        """What left for the outputs last, after all limits: float32 [1, n]."""
        if not self.last_command_tensor:
            self.last_command_tensor = name = self._name("last_command")
            self.tensors[name] = TensorSpec(name, (1, self.last_command_size))
        return self.last_command_tensor

    @property
    def cycles_since_due(self) -> str:
        """How many cycles after the one in which the policy was due this one is: float32 [1, 1]."""
        if not self.cycles_tensor:
            self.cycles_tensor = name = self._name("cycles_since_due")
            self.tensors[name] = TensorSpec(name, (1, 1))
        return self.cycles_tensor

    def answer(self, name: str, *, from_zeros: bool = False) -> str:
        """An output of a model, as ``MODEL.OUTPUT``: float32 [1, n].

        Of this cycle where the model ran already; else of the cycle before. In the first that is zeros;
        with ``from_zeros``, what the model answers where all that it reads is zero.
        """
        import numpy as np

        if name in self._answers:
            return self._answered(name)
        self._awaited.add(name)
        tensor = self._answer_tensors[name]
        first = np.zeros(tensor.size) if not from_zeros else np.asarray(tensor.at_zeros)
        return self.once(
            ("before", name, from_zeros),
            lambda: self.feedback(
                f"before/{name}",
                (1, tensor.size),
                lambda _: self._answered(name),
                initial=first.reshape(1, -1).astype(np.float32),
            ),
        )

    def _answered(self, name: str) -> str:
        return self.once(("answer", name), self._answers[name])

    @property
    def action_size(self) -> int:
        """Elements of the policy's raw output."""
        return self._action_size

    @property
    def raw_action(self) -> str:
        """What the policy answers, float32 [1, ``action_size``]. Only behind the policy."""
        if self._raw_action is None:
            raise RuntimeError("the raw action is known behind the policy: use it in an update")
        return self._raw_action

    @property
    def taken_action(self) -> str:
        """The raw action, or what an action term made of it for ``last_action`` to see. Only in an update."""
        return self._taken_action or self.raw_action

    def cast(self, value: str, dtype: str) -> str:
        """The same values in another type."""
        import numpy as np
        import onnx

        if self.tensors[value].dtype == dtype:
            return value
        to = int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
        return self.once(
            ("cast", value, dtype), lambda: self.node("Cast", [value], f"cast/{value}", to=to)
        )

    def reshaped(self, value: str, shape: tuple[int, ...]) -> str:
        """The same values in another shape."""
        import numpy as np

        if self.tensors[value].shape == shape:
            return value
        target = self.constant(np.array(shape, np.int64), "shape")
        return self.node("Reshape", [value, target], f"reshaped/{value}")

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
        elif tensor not in self.tensors:
            found = f"a term that yields '{tensor}', which is no tensor"
        else:
            spec = self.tensors[tensor]
            dimensions = self._open.get(tensor, list(spec.shape))
            if (spec.dtype, dimensions) == ("float32", list(shape)):
                return
            found = f"a term that yields {spec.dtype} [{', '.join(map(str, dimensions))}]"
        raise ConfigError([Finding.of(self._where, found, expected)])

    def run_model(
        self, label: str, model: Any, feeds: Mapping[str, str], outputs: Sequence[PolicyTensor]
    ) -> dict[str, str]:
        """Adds a run of a model. ``feeds`` are tensors by its inputs, of their shape and type.

        Returns the tensors of its outputs, of their own shape and type, by their names.
        """
        tensors = {}
        for output in outputs:
            name = self._name(f"{label}/{output.name}")
            self.tensors[name] = TensorSpec(name, output.shape, output.dtype)
            tensors[output.name] = name
        step = ModelStep(label, model, dict(feeds), tensors, self._in_each_cycle)
        self._add(step, *tensors.values())
        return tensors

    def call(self, label: str, function: PolicyFunction, observed: str) -> str:
        """Adds the call of a Python function, outside the cycle: float32 [1, size]."""
        name = self._name(f"{label}/answer")
        self.tensors[name] = TensorSpec(name, (1, function.size))
        self._add(CallStep(label, function, observed, name), name)
        return name

    def answered(self, name: str, make: Callable[[], str]) -> None:
        """From now on this makes the output ``MODEL.OUTPUT``: float32 [1, n]."""
        self._answers[name] = make

    @property
    def answers(self) -> list[str]:
        """The outputs of the models that ran already, as ``MODEL.OUTPUT``."""
        return list(self._answers)

    def acted(self, tensor: str) -> None:
        """From now on this is the raw action."""
        self._raw_action = tensor

    def took(self, tensor: str) -> None:
        """From now on this is what ``last_action`` sees: float32 [1, ``action_size``]."""
        self._taken_action = tensor

    def acts_with(self, size: int) -> None:
        """The raw action will have so many elements."""
        self._action_size = size

    def fed_back(self) -> tuple[Feedback, ...]:
        """Adds the updates of all states; nothing is added after it."""
        done: list[Feedback] = []
        while len(done) < len(self._states):  # an update may make a state
            done.append(self._updated(self._states[len(done)]))
        return tuple(done)

    # --- inside ---

    def _add(self, step: Step, *outputs: str) -> None:
        self.steps.append(step)
        (self._of_each_cycle if step.each_cycle else self._of_policy).update(outputs)

    def _updated(self, state: _State) -> Feedback:
        spec = state.spec
        with self.blaming(state.where):
            with self.each_cycle(state.each_cycle):
                value = state.update(spec.name)
            if spec.dtype == "float32":
                self.check(value, spec.shape)
        # What is fed back must be computed: a state that another one takes over is copied first.
        output = self._name(f"next/{spec.name.removeprefix('rtloop/')}")
        each_cycle = state.each_cycle or value in self._of_each_cycle
        step = NodeStep("Identity", (value,), output, {}, each_cycle)
        self.tensors[output] = TensorSpec(output, spec.shape, spec.dtype)
        self._add(step, output)
        return Feedback(spec.name, output, spec.shape, state.of_applied, spec.dtype)

    def _name(self, label: str) -> str:
        wanted = name = f"rtloop/{label}"
        number = 2
        while name in self.tensors:
            name, number = f"{wanted}_{number}", number + 1
        return name
