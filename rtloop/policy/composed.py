"""What composing gives: tensors, and the steps that fill them in every run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from rtloop.policy.callable.function import PolicyFunction


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of the composed graph; ``dtype`` is a numpy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class NodeStep:
    """One node of rtloop's own: an ONNX operator, by the names of its tensors."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    each_cycle: bool = False
    """It runs in the cycles between those of the policy, too."""


@dataclass(frozen=True)
class ModelStep:
    """One run of a model: its inputs and outputs, and the tensors of the graph they are."""

    label: str
    model: onnx.ModelProto
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    each_cycle: bool = False


@dataclass(frozen=True)
class CallStep:
    """What a Python function answers, outside the cycle: the tensors that it takes and gives."""

    label: str
    function: PolicyFunction
    input: str
    output: str
    each_cycle: bool = False


Step = NodeStep | ModelStep | CallStep


@dataclass(frozen=True)
class Feedback:
    """State: after every run, ``output_name`` is copied to ``input_name``.

    ``of_applied``: only after a run whose command was applied; a result that was discarded, or that no
    output took, leaves it alone.

    Of one shape and type on both sides. The constant of that name, or zeros, before the first cycle
    and after every reset.
    """

    input_name: str
    output_name: str
    shape: tuple[int, ...]
    of_applied: bool = False
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class ComposedGraph:
    """What the core runs: ``steps``, in their order, on ``tensors`` that never move.

    ``inputs`` are one [1, n] per loop input, in the order of the configuration; ``action`` is the
    command, [1, m], after the action terms; both are float32. ``constants`` are the values of some of the
    tensors, and of states before the first run. ``last_command`` is the tensor that holds what left for
    the outputs before, after all limits; empty where nothing reads it. ``sha256`` is that of the user's
    model, its weights included; of several, of the one that answers the action. ``models_sha256`` has
    it of every model that runs, by its name. Without models it is empty, and so are they.

    A NaN or infinity in one of the tensors ``checked``, which are what models observe and answer,
    always leaves as a NaN in ``action``, whatever clips lie between: the core only has to check what
    it is about to write.
    """

    tensors: Mapping[str, TensorSpec]
    constants: Mapping[str, npt.NDArray[Any]]
    steps: tuple[Step, ...]
    inputs: tuple[TensorSpec, ...]
    action: TensorSpec
    feedback: tuple[Feedback, ...]
    checked: tuple[str, ...]
    last_command: str
    sha256: str
    observation_size: int
    models_sha256: Mapping[str, str]
    observations: Mapping[str, str] = field(default_factory=dict)
    """By model and input, as ``policy.obs``: the tensor of what it observes. Without a model,
    ``policy.observation``, which is the raw action, too."""
    raw_action: str = ""
    """The tensor of the policy's raw output, [1, n]."""
    terminations: str = ""
    """The tensor of the conditions that end the loop, bool [1, n]; empty without any."""
    termination_sentences: tuple[str, ...] = ()
    """What each of them says when it is true."""
    every: int = 1
    """The policy, all steps but those of ``each_cycle``, runs in every so-many-th cycle."""
    cycles_since_due: str = ""
    """The tensor of the cycles since that one, float32 [1, 1]; empty where nothing reads it."""

    @property
    def call(self) -> CallStep | None:
        """The step that a Python function answers."""
        return next((step for step in self.steps if isinstance(step, CallStep)), None)

    @cached_property
    def unread(self) -> frozenset[int]:
        """The numbers of the inputs that nothing reads: of another policy of the loop, or its selector."""
        read = {self.action.name, *self.checked, *(state.output_name for state in self.feedback)}
        for step in self.steps:
            if isinstance(step, CallStep):
                read.add(step.input)
            else:
                read |= set(step.inputs if isinstance(step, NodeStep) else step.inputs.values())
        return frozenset(n for n, spec in enumerate(self.inputs) if spec.name not in read)

    @cached_property
    def model(self) -> bytes:
        """All of it as one ONNX model, serialised. Raises ConfigError where ONNX has no such model.

        Its inputs are ``inputs``, the feedback inputs and ``last_command``, if any; its outputs are
        ``action``, the feedback outputs, and ``terminations``, if any.
        """
        from rtloop.policy.onnx_file import one_model

        return bytes(one_model(self).SerializeToString(deterministic=True))
