"""Models compiled ahead of time: C from a generator, made into a shared object for this CPU.

What cannot be compiled, or does not compute what onnxruntime computes, runs in onnxruntime, with the reason.
"""

from rtloop.policy.aot.choice import Backends, backends, in_onnxruntime

__all__ = ["Backends", "backends", "in_onnxruntime"]
