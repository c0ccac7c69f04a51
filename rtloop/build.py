"""The parts of a loop: its open ports, the graphs between them, and what the core is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rtloop import core
from rtloop.assembly import Assembled, assemble
from rtloop.config import Config, LoopConfig, SwitchConfig
from rtloop.errors import ConfigError, Finding, Place, RtloopError
from rtloop.opening import Opened, close, connect, open_ports
from rtloop.policy import Policy
from rtloop.policy.terms.start import cycles_in
from rtloop.ports.port import Port
from rtloop.ports.signal import Signal


@dataclass(frozen=True)
class Parts:
    """What a loop is made of between configure and cleanup: opened and composed, nothing armed."""

    ports: tuple[Port, ...]
    """Each once. Their order is what ``core.InputConfig.port`` and ``status()["fault_port"]`` mean."""
    places: tuple[Place, ...]
    """Where the configuration names what each of the ports has opened."""
    input_ports: dict[str, Port]
    """By the name of the loop's input."""
    output_ports: dict[str, Port]
    """By the name of the loop's output."""
    inputs: tuple[Signal, ...]
    """All elements of all inputs in the order of the file, named ``<input>.<element>``."""
    outputs: tuple[Signal, ...]
    """All elements of all outputs, likewise."""
    policies: Mapping[str, Assembled]
    """By name, in the order of the file; "" the only one."""
    runner: core.Runner
    """The graph of the only one, or the switch between them."""
    core_config: core.LoopConfig
    onnxruntime_version: str
    notes: tuple[str, ...]
    """What was concluded of its policies without being asked."""
    facts: Mapping[str, object]
    """What its recording says of them."""

    @property
    def acting(self) -> Assembled:
        """The policy that acts."""
        number = self.runner.acting if isinstance(self.runner, core.Switch) else 0
        return list(self.policies.values())[number]

    def close(self) -> None:
        """Closes every port; raises what the last that failed raised."""
        close(self.ports)


def build(
    config: Config,
    name: str,
    stalls: Sequence[core.Stall] = (),
    policies: Mapping[str, Policy] | None = None,
    opened: Mapping[str, Opened] | None = None,
) -> Parts:
    """Opens the ports of the loop ``name`` and composes its graphs. Nothing is armed or started.

    ``stalls`` injects slowness; ``policies`` are the loop's, where they were loaded already; ``opened`` has the
    ports of all loops that were opened already, which a loop that reads another needs. Raises ConfigError,
    LinkError, RtloopError; then every port of it is closed again.
    """
    own = (opened or {}).get(name) or open_ports(config, [name])[name]
    with ExitStack() as on_error:
        on_error.callback(close, own.ports)
        connect(config, name, own, opened or {})
        inputs = {key: port.inputs for key, port in own.input_ports.items()}
        outputs = {key: port.outputs for key, port in own.output_ports.items()}
        assembled = {
            policy: assemble(
                alone, name, inputs, outputs, (policies or {}).get(policy), relays=own.relays
            )
            for policy, alone in config.each_policy(name).items()
        }
        runner = _runner(config, name, inputs, assembled)
        core_config = next(iter(assembled.values())).core_config
        core_config.stalls = list(stalls)
        on_error.pop_all()
    return Parts(
        ports=own.ports,
        places=tuple(own.places[port] for port in own.ports),
        input_ports=own.input_ports,
        output_ports=own.output_ports,
        inputs=_named(inputs),
        outputs=_named(outputs),
        policies=assembled,
        runner=runner,
        core_config=core_config,
        onnxruntime_version=runner.onnxruntime_version,
        notes=tuple(
            f"{policy}: {note}" if policy else note
            for policy, each in assembled.items()
            for note in each.notes
        ),
        facts=_facts(config.loops[name], assembled, inputs),
    )


def _runner(
    config: Config,
    name: str,
    inputs: Mapping[str, Sequence[Signal]],
    assembled: Mapping[str, Assembled],
) -> core.Runner:
    """The graph of an only policy; of several, a switch. Raises ConfigError, RtloopError."""
    runners = [each.runner for each in assembled.values()]
    loop = config.loops[name]
    if loop.switch is None:
        return runners[0]
    element = _selector(config, name, loop.switch, inputs)
    cycles = cycles_in(loop.switch.blend_s, loop.period_s)
    following = loop.switch.following(list(assembled))
    try:
        return core.Switch(
            runners, list(loop.inputs).index(loop.switch.input), element, cycles, following
        )
    except ValueError as error:
        found = Finding(
            f"loop '{name}' cannot be configured: {error}", config.where("loops", name, "policies")
        )
        raise RtloopError([found]) from error


def _selector(
    config: Config, name: str, switch: SwitchConfig, inputs: Mapping[str, Sequence[Signal]]
) -> int:
    """The index of the selector in its input. Raises ConfigError where a device has no such element."""
    names = [signal.name for signal in inputs[switch.input]]
    element = switch.element_in(names)
    if element is not None:
        return element
    wrong = switch.wrong_element(("loops", name, "switch"), names)
    found = wrong.found or repr(switch.element)
    raise ConfigError([Finding.of(config.where(*wrong.keys), found, wrong.expected)])


def _facts(
    loop: LoopConfig,
    assembled: Mapping[str, Assembled],
    inputs: Mapping[str, Sequence[Signal]],
) -> dict[str, object]:
    """Of several policies, the one that acts first is the loop's; the others are told by their names."""

    def by_label(facts: Callable[[Assembled], Mapping[str, str]]) -> dict[str, str]:
        return {
            f"{policy}/{key}" if policy else key: value
            for policy, each in assembled.items()
            for key, value in facts(each).items()
        }

    first = next(iter(assembled.values()))
    paced = {} if loop.clock is None else {"paced_by": loop.clock.told()}
    told: dict[str, object] = {
        "policy_sha256": first.graph.sha256,
        "models_sha256": by_label(lambda each: each.graph.models_sha256),
        "policy_backends": by_label(lambda each: each.backends.by_model),
        **paced,
    }
    if loop.switch is not None:
        element = loop.switch.element_in([signal.name for signal in inputs[loop.switch.input]])
        before = list(loop.inputs).index(loop.switch.input)
        sizes = [len(inputs[key]) for key in list(loop.inputs)[:before]]
        told |= {"policies": list(assembled), "selector": sum(sizes) + (element or 0)}
    return told


def _named(signals: Mapping[str, Sequence[Signal]]) -> tuple[Signal, ...]:
    """All elements in one vector, as ``PORT.ELEMENT``."""
    return tuple(
        Signal(f"{name}.{element.name}", element.unit)
        for name, elements in signals.items()
        for element in elements
    )
