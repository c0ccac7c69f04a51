"""Sets a demo up: its simulated microcontrollers, its configuration, its disturbances."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rtloop import core
from rtloop.config import Config, load, with_devices
from rtloop.demos import Demo
from rtloop.demos.cartpole.demo import CartpoleDemo, EmulatedCartpoleDemo
from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.demos.folder import private_folder
from rtloop.demos.quadruped.demo import QuadrupedDemo
from rtloop.errors import ConfigError, RtloopError
from rtloop.run import Run

DEMOS: dict[str, Demo] = {demo.name: demo for demo in (CartpoleDemo(), QuadrupedDemo())}
_EMULATED: dict[str, Demo] = {demo.name: demo for demo in (EmulatedCartpoleDemo(),)}

_FOLDER = Path(__file__).parent


#: When the first slow inference comes.
OVERLOAD_FIRST_S = 2.0


@dataclass(frozen=True)
class Overload:
    """Inferences that are made too slow: how often, and how long they then take."""

    every_s: float
    periods: float = 1.5


@dataclass(frozen=True)
class Disturbances:
    """What the user asked the demo to suffer."""

    busy_python: bool = False
    overload: bool = False
    seed: int = 1


def find_demo(name: str, firmware: str) -> Demo:
    """``firmware``: "host", a program of this machine, or "qemu", that of an emulated microcontroller. Raises
    ConfigError."""
    if name not in DEMOS:
        raise ConfigError(f"there is no demo '{name}'; there is: {', '.join(DEMOS)}")
    demos = DEMOS if firmware == "host" else _EMULATED
    if name not in demos:
        raise ConfigError(f"--firmware {firmware}: not for '{name}', only for {', '.join(demos)}")
    return demos[name]


@contextmanager
def demo_run(
    demo: Demo,
    disturbances: Disturbances,
    *,
    record: bool = True,
    viewer: bool = False,
    transport: str = "serial",
) -> Iterator[tuple[Run, list[FirmwareProcess]]]:
    """A run that is ready to start, once, beside its running microcontrollers, which end with its loops.

    ``transport``, a key of ``TRANSPORTS``, is what its links travel over.
    Raises ConfigError, RtloopError. Everything it started ends with it.
    """
    if transport not in demo.transports:
        raise ConfigError(
            f"--transport {transport}: this demo's device has none; it has: {', '.join(demo.transports)}"
        )
    config = demo_config(demo, overload=disturbances.overload)
    if missing := demo.missing():
        raise RtloopError(missing)
    overload = Overload(demo.overload_every_s) if disturbances.overload else None
    with run_of(
        demo,
        config,
        disturbances,
        overload=overload,
        record=record,
        viewer=viewer,
        transport=transport,
    ) as running:
        yield running


def demo_config(demo: Demo, *, overload: bool) -> Config:
    """What a demo runs, or runs for ``--overload``."""
    return load(_FOLDER / demo.config_file(overload=overload))


@contextmanager
def run_of(
    demo: Demo,
    config: Config,
    disturbances: Disturbances,
    *,
    overload: Overload | None,
    record: bool,
    viewer: bool = False,
    transport: str = "serial",
) -> Iterator[tuple[Run, list[FirmwareProcess]]]:
    """As :func:`demo_run`, of a configuration like the demo's."""
    cpu = _cpu_of_loops()
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        devices = []
        for i, link in enumerate(config.links):
            arguments = ["--seed", str(disturbances.seed + i), *demo.device_arguments]
            arguments += TRANSPORTS[transport]
            arguments += demo.overload_arguments if disturbances.overload else ()
            # A board's firmware is never preempted by a desktop; where we may, neither is this one.
            arguments += ["--priority", "60"] if os.geteuid() == 0 else []
            devices.append(demo.device(folder / link, arguments))
        for device in devices if viewer else ():
            stack.enter_context(demo.viewer(device, [] if cpu is None else [cpu]))
        for device in devices:
            stack.enter_context(device)
        config = with_devices(config, {d.link.name: d.device for d in devices})
        config = _on_one_cpu(config, cpu)
        if disturbances.busy_python:
            stack.enter_context(_busy_python())
        stalls = None if overload is None else _stalls(config, overload)
        yield (
            Run(
                config,
                demo.name,
                stalls=stalls,
                record=record,
                plant=lambda: demo.problems({d.link.name: d.stop() for d in devices}),
            ),
            devices,
        )


def _cpu_of_loops() -> int | None:
    """The last: the first CPUs take most interrupts. None where there is no choice."""
    cpus = core.allowed_cpus()
    return cpus[-1] if len(cpus) > 1 else None


def _on_one_cpu(config: Config, cpu: int | None) -> Config:
    affinity = None if cpu is None else (cpu,)
    loops = {
        name: loop.with_values(realtime=loop.realtime.with_values(cpu_affinity=affinity))
        for name, loop in config.loops.items()
    }
    return config.with_values(loops=loops)


def _stalls(config: Config, overload: Overload) -> dict[str, list[core.Stall]]:
    stalls = {}
    for i, (name, loop) in enumerate(config.loops.items()):
        per_second = 1_000_000_000 / loop.period_ns
        # Staggered, so that one loop's slow inference is not also the others'.
        first = int((OVERLOAD_FIRST_S + i * overload.every_s / 3) * per_second)
        every = round(overload.every_s * per_second)
        duration_ns = int(overload.periods * loop.period_ns)
        stalls[name] = [core.Stall(core.Stage.infer, first, every, duration_ns)]
    return stalls


@contextmanager
def _busy_python() -> Iterator[None]:
    """A Python thread that never lets go of the interpreter by itself."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin, name="busy-python", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
