"""The policy of one loop of a configuration with everything around it, without its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from rtloop.assembly import Assembled, assemble, sink_of
from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import Config, LoopConfig
from rtloop.errors import ConfigError, Finding
from rtloop.policy.policy import Policy
from rtloop.policy.show import PolicyTable, table
from rtloop.ports.command import first_standing, limits
from rtloop.ports.signal import Signal


@dataclass(frozen=True)
class Opened:
    """A policy that a loop could run, and between which elements."""

    policy: Policy
    inputs: Mapping[str, Sequence[Signal]]
    outputs: Mapping[str, Sequence[Signal]]
    assembled: Assembled
    table: PolicyTable


def opened(
    config: Config,
    name: str,
    told: Mapping[str, Sequence[Signal]] | None = None,
    *,
    backend: str | None = None,
) -> Opened:
    """The policy of the loop ``name``. ``told`` are the elements of inputs that only their device knows.

    What nobody told is assumed, as ``rtloop check`` does; ``backend`` stands in for that of the configuration.
    Raises ConfigError, RtloopError.
    """
    loop = config.loops[name]
    policy = loop.policy.load(partial(config.where, "loops", name, "policy"))
    inputs: dict[str, Sequence[Signal]] = {**assumed_inputs(config, name, policy)}
    inputs |= {
        key: signals
        for key, signals in (told or {}).items()
        if key in inputs and loop.inputs[key].element_count is None
    }
    outputs = assumed_outputs(loop, policy)
    assembled = assemble(config, name, inputs, outputs, policy, are_assumed=True, backend=backend)
    known = table_of(config, name, policy, inputs, outputs)
    known = replace(known, notes=(*known.notes, *assembled.backends.notes))
    return Opened(policy, inputs, outputs, assembled, known)


def refuse_function(config: Config, name: str) -> None:
    """What is done to the models of a loop is not done to a Python function. Raises ConfigError."""
    function = config.loops[name].policy.python
    if function is not None:
        place = config.where("loops", name, "policy", "python")
        expected = "a model: export the function as one"
        raise ConfigError([Finding.of(place, f"the Python function '{function}'", expected)])


def standing(loop: LoopConfig, policy: Opened, measured: Sequence[float] = ()) -> list[float]:
    """What is commanded before the first command, of all outputs. ``measured`` are the first values of all
    inputs, which elements hold; zeros where nothing is."""
    names = {key: [signal.name for signal in signals] for key, signals in policy.inputs.items()}
    values = measured or [0.0] * sum(map(len, names.values()))
    return [
        value
        for key, signals in policy.outputs.items()
        for value in first_standing(
            loop.outputs[key].vectors, [signal.name for signal in signals], names, values
        )
    ]


def table_of(
    config: Config,
    name: str,
    policy: Policy,
    inputs: Mapping[str, Sequence[Signal]],
    outputs: Mapping[str, Sequence[Signal]],
) -> PolicyTable:
    """What the policy of the loop ``name`` observes and commands, between these elements."""
    loop = config.loops[name]
    sinks = {key: sink_of(loop.outputs[key], signals) for key, signals in outputs.items()}
    known = table(loop.policy, policy, inputs, outputs, sinks, loop.policy_period_s)
    limited = [
        limits(loop.outputs[key].vectors, [signal.name for signal in signals])
        for key, signals in outputs.items()
    ]
    command = [
        replace(element, min=low, max=high, max_rate_per_s=rate)
        for element, (low, high, rate) in zip(known.command, chain(*limited), strict=True)
    ]
    return replace(known, command=tuple(command))
