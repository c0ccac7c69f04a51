"""The user's ONNX policy and everything around it, as one graph the core can run.

Importing this package imports neither onnx nor onnxruntime: reading a configuration stays fast.
"""

from rtloop.policy.compose import compose
from rtloop.policy.composed import ComposedGraph, Feedback, TensorSpec
from rtloop.policy.model_file import PolicyTensor
from rtloop.policy.policy import Policy, load_policy
from rtloop.policy.section import PolicyConfig
from rtloop.policy.terms.action import ActionTerm, Sink
from rtloop.policy.terms.term import ObservationTerm

__all__ = [
    "ActionTerm",
    "ComposedGraph",
    "Feedback",
    "ObservationTerm",
    "Policy",
    "PolicyConfig",
    "PolicyTensor",
    "Sink",
    "TensorSpec",
    "compose",
    "load_policy",
]
