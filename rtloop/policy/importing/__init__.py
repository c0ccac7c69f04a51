"""Import instead of typing: the YAML of a loop, from what exporters write with a policy.

One file a format (``unitree``, ``isaaclab``, ``mjlab``, ``holosoma``, ``exploy``), each read into one
vocabulary, :class:`~rtloop.policy.importing.training.Training`; ``draft`` writes that as a loop.
"""

from rtloop.policy.importing.draft import Draft, draft

__all__ = ["Draft", "draft"]
