"""Opens the ports of a loop, and connects those that read another loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rtloop import core
from rtloop.config import Config, LoopConfig
from rtloop.errors import ConfigError, Finding, Place, RtloopError, StoppedError
from rtloop.ports.around import Around, Graph
from rtloop.ports.kept import KEPT_INSTEAD, commands_kept, most_kept, what_is_kept
from rtloop.ports.port import Port, PortSection
from rtloop.realtime.timing import REAL_TIME, Timing


@dataclass(frozen=True)
class Opened:
    """The ports of a loop, before it is known what it does between them."""

    input_ports: dict[str, Port]
    """By the name of the loop's input."""
    output_ports: dict[str, Port]
    """By the name of the loop's output."""
    places: dict[Port, Place]
    """Where the configuration names what each of the ports has opened."""
    relays: dict[str, core.Relay]
    """By the name of an output that other loops read: where they read it."""

    @property
    def ports(self) -> tuple[Port, ...]:
        """Each once. Their order is what ``core.InputConfig.port`` means."""
        return tuple(dict.fromkeys((*self.input_ports.values(), *self.output_ports.values())))


def close(ports: Iterable[Port]) -> None:
    """Closes each of them; raises what the last that failed raised."""
    with ExitStack() as every:
        for port in ports:
            every.callback(port.close)


@contextmanager
def port_errors(loop: str, port: str, done: str, place: Place) -> Iterator[None]:
    """Whatever a port raises inside, which may be anybody's code, is an RtloopError at ``place``.

    ``done`` is what was to be done with the port: "opened".
    """
    try:
        yield
    except StoppedError:  # nothing is wrong anywhere
        raise
    except RtloopError as error:
        error.at(place)
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        message = f"loop '{loop}': port '{port}' could not be {done}: {text}"
        raise RtloopError([Finding(message, place)]) from error


def open_ports(
    config: Config,
    name: str,
    graph: Graph | None = None,
    timing: Timing = REAL_TIME,
) -> Opened:
    """The ports of the inputs and of the outputs of a loop; sections of one identity share one.

    ``graph`` is that of the node that runs the loop, ``timing`` its time. Raises ConfigError,
    LinkError, RtloopError; then every port that was opened is closed again.
    """
    with ExitStack() as on_error:
        opened = _opened(config, Around(config.links, graph, timing), name, on_error)
        on_error.pop_all()
    return opened


def _opened(config: Config, around: Around, name: str, on_error: ExitStack) -> Opened:
    loop = config.loops[name]
    places: dict[Port, Place] = {}
    shared: dict[tuple[str, str], Port] = {}

    def opened(direction: str, key: str, section: PortSection) -> Port:
        identity = section.identity
        port = None if identity is None else shared.get(identity)
        if port is None:
            place = config.where(*section.opened_at(("loops", name, direction, key)))
            with port_errors(name, section.port_name or key, "opened", place):
                port = section.open(key, loop, around)
            on_error.callback(port.close)
            places[port] = place
        if identity is not None:
            shared[identity] = port
        return port

    input_ports = {key: opened("inputs", key, section) for key, section in loop.inputs.items()}
    output_ports = {key: opened("outputs", key, section) for key, section in loop.outputs.items()}
    relays = {
        key: _relay(loop, port, readers, config.where("loops", name, "outputs", key))
        for key, port in output_ports.items()
        if (readers := config.readers(name, key))
    }
    return Opened(input_ports, output_ports, places, relays)


def _relay(loop: LoopConfig, port: Port, readers: Sequence[LoopConfig], place: Place) -> core.Relay:
    """Raises ConfigError where a device has more values than may be kept of it."""
    size, at_deadline = len(port.outputs), loop.output == "at_deadline"
    kept, most = max(commands_kept(loop, reader) for reader in readers), most_kept(size)
    if kept > most and at_deadline:
        found = f"an output {what_is_kept(kept, size)}"
        raise ConfigError([Finding.of(place, found, KEPT_INSTEAD)])
    # Of a loop that says nothing of when its commands leave, only the newest is ever read.
    return core.Relay(size, min(kept, most), at_deadline)


def connect(config: Config, name: str, own: Opened, opened: Mapping[str, Opened]) -> None:
    """Tells each input that reads another loop what it reads. Raises RtloopError where that is not open."""
    for key, section in config.loops[name].inputs.items():
        if section.read_output is None:
            continue
        other, output = section.read_output
        if other not in opened:
            found = (
                f"input '{key}' of loop '{name}' reads loop '{other}', which is not there: the loops of a file "
                "that read each other run together, in one `rtloop.Run`"
            )
            raise RtloopError([Finding(found, config.where("loops", name, "inputs", key, "loop"))])
        signals = opened[other].output_ports[output].outputs
        own.input_ports[key].read_from(opened[other].relays[output], signals)
