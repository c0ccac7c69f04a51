"""Opens the ports of a loop, and connects those that read another loop."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from rtloop import core
from rtloop.config import Config, LoopConfig
from rtloop.errors import ConfigError, Finding, Place, RtloopError, StoppedError, do_each
from rtloop.ports.around import Around, Graph
from rtloop.ports.kept import KEPT_INSTEAD, commands_kept, most_kept, what_is_kept
from rtloop.ports.port import Port, PortSection
from rtloop.realtime.timing import REAL_TIME, Timing
from rtloop.stopping import go_on


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


@dataclass(frozen=True, eq=False)
class _Wanted:
    """A port that is to be opened, for the first of the sections that share it."""

    loop: str
    key: str
    section: PortSection
    place: Place

    def open(self, loop: LoopConfig, around: Around) -> Port:
        go_on()
        with port_errors(self.loop, self.section.port_name or self.key, "opened", self.place):
            return self.section.open(self.key, loop, around)


def open_ports(
    config: Config,
    names: Iterable[str],
    graph: Graph | None = None,
    timing: Timing = REAL_TIME,
) -> dict[str, Opened]:
    """The ports of the inputs and of the outputs of loops, by their names; sections of one identity share one.

    ``graph`` is that of the node that runs the loops, ``timing`` their time. Raises ConfigError, LinkError,
    RtloopError with all that could not be opened, StoppedError; then every port that was is closed again.
    """
    around = Around(config.links, graph, timing)
    wanted = {name: _wanted(config, name) for name in names}
    with ExitStack() as on_error:
        each = list(dict.fromkeys(one for ports in wanted.values() for one in ports.values()))
        ports = _open_each(config, each, around, on_error)
        opened = {name: _opened(config, name, wanted[name], ports) for name in wanted}
        on_error.pop_all()
    return opened


def _wanted(config: Config, name: str) -> dict[tuple[str, str], _Wanted]:
    """The port of each input and output, by direction and key."""
    loop = config.loops[name]
    shared: dict[tuple[str, str], _Wanted] = {}
    wanted: dict[tuple[str, str], _Wanted] = {}
    for direction, sections in (("inputs", loop.inputs), ("outputs", loop.outputs)):
        for key, section in sections.items():
            place = config.where(*section.opened_at(("loops", name, direction, key)))
            own = _Wanted(name, key, section, place)
            identity = section.identity
            wanted[direction, key] = own if identity is None else shared.setdefault(identity, own)
    return wanted


def _open_each(
    config: Config, wanted: Sequence[_Wanted], around: Around, on_error: ExitStack
) -> dict[_Wanted, Port]:
    """One after the other, but for those that wait for a device: these at once, each in a thread."""
    ports: dict[_Wanted, Port] = {}
    slow = [one for one in wanted if one.section.waits_for_device]
    futures: dict[_Wanted, Future[Port]] = {}

    def keep(one: _Wanted) -> None:
        loop = config.loops[one.loop]
        port = futures[one].result() if one in futures else one.open(loop, around)
        on_error.callback(port.close)
        ports[one] = port

    with ExitStack() as ended:
        if len(slow) > 1:
            # A device that does not answer is waited for: not once for each of them.
            pool = ended.enter_context(ThreadPoolExecutor(len(slow), "open"))
            for one in slow:
                # Requests to stop that count in this thread count in the others, too.
                run = contextvars.copy_context().run
                futures[one] = pool.submit(run, one.open, config.loops[one.loop], around)
            ended.callback(_close_forgotten, futures, ports)
        do_each(partial(keep, one) for one in wanted)
    return ports


def _close_forgotten(futures: Mapping[_Wanted, Future[Port]], kept: Mapping[_Wanted, Port]) -> None:
    """What was opened behind one that ended it all."""
    forgotten = [future for one, future in futures.items() if one not in kept]
    close(future.result() for future in forgotten if future.exception() is None)


def _opened(
    config: Config,
    name: str,
    wanted: Mapping[tuple[str, str], _Wanted],
    ports: Mapping[_Wanted, Port],
) -> Opened:
    loop = config.loops[name]
    input_ports = {key: ports[wanted["inputs", key]] for key in loop.inputs}
    output_ports = {key: ports[wanted["outputs", key]] for key in loop.outputs}
    places = {ports[one]: one.place for one in wanted.values()}
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
