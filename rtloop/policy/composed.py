"""What composing gives: one graph, and how its tensors are fed."""

from __future__ import annotations

import math
from dataclasses import dataclass


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

    ``of_applied``: only after a run whose command was applied; a result that was discarded, or that no
    output took, leaves it alone.

    float32 of ``shape`` on both sides. Zeros before the first cycle and after every reset.
    """

    input_name: str
    output_name: str
    shape: tuple[int, ...]
    of_applied: bool = False

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
