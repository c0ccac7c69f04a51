"""What would keep a configuration from running: everything that a run refuses, before anything moves."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop import core
from rtloop.config import Config, host_problems, load
from rtloop.config.config import label
from rtloop.config.switch import SwitchConfig
from rtloop.errors import ConfigError, Finding, RtloopError, raise_all
from rtloop.judge import (
    Judgement,
    judge,
    judge_commands,
    judge_probes,
    judge_rate,
    judge_time,
    judge_zeros,
    refuse_denied,
    rehearse_storage,
    uncommanded,
)
from rtloop.loop import WARM_UP_RUNS, Loop
from rtloop.opening import port_errors
from rtloop.policy import Policy
from rtloop.policy.aot.gain import Gain, gain
from rtloop.policy.callable.function import FunctionError
from rtloop.policy.callable.price import Price, price
from rtloop.policy.composed import ComposedGraph
from rtloop.realtime.process import ProcessRights
from rtloop.realtime.rights import RightReport, kernel_report, report
from rtloop.realtime.threads import guard_thread, link_thread, loop_thread
from rtloop.unwritten import unwritten

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Of a policy so slow that WARM_UP_RUNS of it would take longer than TIMED_S, fewer runs are timed.
TIMED_S = 1.0
TIMED_RUNS_MIN = 20


@dataclass
class LoopCheck:
    """One loop in numbers."""

    name: str
    policy: str
    """Its name, where the loop has several; each has an account of its own."""
    loop_class: str
    rate_hz: float
    policy_rate_hz: float
    rates: str
    """Both, for people."""
    deadline_ms: float
    model: str
    """Empty, with the two below, where terms and controllers do it alone."""
    observation: str
    action: str
    timed_runs: int = 0
    inference_p50_us: float | None = None
    """None where the graph could not be made."""
    inference_p99_us: float | None = None
    notes: list[str] = field(default_factory=list)
    """What was concluded of the policy without being asked, and what is not wrong but should be known."""
    backends: dict[str, str] = field(default_factory=dict)
    """``ort`` or ``aot``, by the name of the model."""
    price: Price | None = None
    """Of asking its Python function."""
    gain: Gain | None = None
    """Of ``backend: aot``, where it is not chosen and could be."""

    @property
    def label(self) -> str:
        return label(self.name, self.policy)

    def as_dict(self) -> dict[str, Any]:
        return {
            "class": self.loop_class,
            "rate_hz": self.rate_hz,
            "policy_rate_hz": self.policy_rate_hz,
            "deadline_ms": self.deadline_ms,
            "model": self.model,
            "observation": self.observation,
            "action": self.action,
            "timed_runs": self.timed_runs,
            "inference_p50_us": self.inference_p50_us,
            "inference_p99_us": self.inference_p99_us,
            "notes": self.notes,
            "backends": self.backends,
            "python": None if self.price is None else self.price.as_dict(),
            "aot_p50_us": None if self.gain is None else self.gain.aot_us,
            "ort_p50_us": None if self.gain is None else self.gain.ort_us,
        }

    def __str__(self) -> str:
        timed = ""
        what = "inference" if self.price is None else "the graph round the function"
        if self.timed_runs:
            timed = (
                f"; {what} {self.inference_p50_us:.3g} µs in the median, 99 of 100 within "
                f"{self.inference_p99_us:.3g} µs ({self.timed_runs} runs here)"
            )
        policy = f"policy {self.model}: {self.observation} → {self.action}"
        return (
            f"{self.label}: {self.loop_class}, {self.rates}, deadline {self.deadline_ms:g} ms, "
            f"{policy if self.model else 'policy without a model'}{timed}"
        )


@dataclass
class Check:
    """What was found. ``errors`` are what a run would raise, ``warnings`` let it start, perhaps with less."""

    path: str
    loops: list[LoopCheck] = field(default_factory=list)
    """One for each policy."""
    switches: dict[str, str] = field(default_factory=dict)
    """Of loops with several policies, which of them acts when, for people."""
    warnings: list[Finding] = field(default_factory=list)
    rights: list[RightReport] = field(default_factory=list)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What devices said, by the name of their link; none where they were not asked."""
    errors: list[RtloopError] = field(default_factory=list)

    @property
    def error(self) -> RtloopError | None:
        """All errors as one, as a run would raise it; None where a run would start."""
        try:
            raise_all(self.errors)
        except RtloopError as error:
            return error
        return None

    @property
    def exit_code(self) -> int:
        return 0 if self.error is None else self.error.exit_code

    def as_dict(self) -> dict[str, Any]:
        error = self.error
        told = {} if error is None else error.as_dict()
        return {
            "file": self.path,
            "loops": {loop.label: loop.as_dict() for loop in self.loops},
            "switches": self.switches,
            "warnings": [str(warning) for warning in self.warnings],
            "rights": [right.as_dict() for right in self.rights],
            "devices": self.devices,
            **told,
            "problems": told.get("problems", []) + [found.as_dict() for found in self.warnings],
            "exit_code": self.exit_code,
        }

    def __str__(self) -> str:
        """All but the errors."""
        lines = [f"{self.path} is {'refused' if self.errors else 'valid'}"]
        for loop in self.loops:
            lines += [f"  {loop}", *(f"  {loop.label}: {note}" for note in loop.notes)]
            lines += [f"  {loop.label}: {told}" for told in (loop.price, loop.gain) if told]
        lines += [f"  {name}: {told}" for name, told in self.switches.items()]
        for link, told in self.devices.items():
            lines.append(
                f"  {link}: '{told['name']}' on {told['device']} is {told['state']}, "
                f"{len(told['sensors'])} sensor values every {told['sensor_period_us'] / 1000:g} ms, "
                f"{len(told['commands'])} command values, round trip {told['round_trip_us']:.0f} µs"
            )
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"{'granted' if r.granted else 'denied '} {r}" for r in self.rights]
        return "\n".join(lines)


def check(path: Path, *, device: bool = False) -> Check:
    """Judges a configuration as a run does, its policies and this host. Raises nothing that is in ``errors``.

    ``device`` asks the devices too, and leaves them as they are; without it, what they say is assumed.
    """
    found = Check(str(path))
    try:
        config = load(path)
    except ConfigError as error:
        found.errors.append(error)
        return found
    judgement = judge(config)
    found.errors += judgement.errors
    found.warnings += host_problems(config)
    for name, loop in config.loops.items():
        if loop.switch is not None:
            found.switches[name] = loop.switch.told(list(loop.policies))
            found.warnings += _judge_selector(config, name, loop.switch)
        for called, alone in config.each_policy(name).items():
            if called in judgement.policies[name]:
                _judge_policy(alone, name, called, judgement, found)
    found.warnings = list(dict.fromkeys(found.warnings))  # of several policies, each once
    _refuse_here(config, found)
    if device:
        _ask_devices(config, judgement, found)
    for checked in found.loops:
        if checked.name in judgement.assembled:
            assembled = judgement.assembled[checked.name][checked.policy]
            checked.notes += assembled.backends.notes
            checked.backends = dict(assembled.backends.by_model)
            _time(config, checked, assembled.runner, found)
            if assembled.graph.call is not None:
                _price(config, checked, assembled.graph, found)
            alone = config.each_policy(checked.name)[checked.policy]
            if alone.loops[checked.name].policy.backend == "ort":
                checked.gain = gain(assembled.graph)
    _try_rights(config, judgement, found)
    return found


def _judge_selector(config: Config, name: str, switch: SwitchConfig) -> list[Finding]:
    """A warning of one that begins at no policy's number, as it may be left until a program writes it."""
    loop = config.loops[name]
    value, policies = switch.begins_at(loop.inputs), list(loop.policies)
    if value is None or value in range(len(policies)):
        return []
    place = config.where("loops", name, "inputs", switch.input)
    expected = (
        f"a number from 0 to {len(policies) - 1}, of a policy: until one is written '{policies[0]}' acts, and "
        "each cycle counts as switch_refused"
    )
    told = f"{value:g}, with which the selector begins"
    return [Finding.of(place, told, expected, severity="warning")]


def _judge_policy(
    config: Config, name: str, called: str, judgement: Judgement, found: Check
) -> None:
    """The loop ``name`` with one of its policies: warnings and notes."""
    policy = judgement.policies[name][called]
    account = _loop_check(config, name, called, policy)
    if all(other.name != name for other in found.loops):
        loop = config.loops[name]
        account.notes += (n for key, read in loop.inputs.items() for n in read.notes(key, name))
        account.notes += (n for key, sink in loop.outputs.items() for n in sink.notes(key))
        account.notes += filter(None, [unwritten(loop, "in `rtloop run`")])
    found.loops.append(account)
    found.warnings += judge_zeros(config, name, policy)
    found.warnings += judge_rate(config, name, policy)
    if name in judgement.assembled:
        account.notes += uncommanded(config, name, policy)
        found.warnings += judge_commands(config, name, policy)
        warnings, notes = judge_probes(config, name, policy, judgement.assembled[name][called])
        found.warnings += warnings
        account.notes += notes


@contextmanager
def _gathered(errors: list[RtloopError]) -> Iterator[None]:
    try:
        yield
    except RtloopError as error:
        errors.append(error)


def _observation(policy: Policy) -> str:
    if not policy.stages:
        return ""
    return "what is observed" if policy.function else str(policy.observation or "nothing")


def _loop_check(config: Config, name: str, called: str, policy: Policy) -> LoopCheck:
    loop = config.loops[name]
    return LoopCheck(
        name=name,
        policy=called,
        loop_class=loop.loop_class,
        rate_hz=loop.nominal_rate_hz,
        policy_rate_hz=loop.nominal_rate_hz / loop.policy.every,
        rates=loop.rates,
        deadline_ms=loop.deadline_ns / 1e6,
        model=", ".join(str(path) for _, _, path in loop.policy.sections.values()),
        observation=_observation(policy),
        action=str(policy.action or ""),
        notes=policy.notes_in(loop.policy),
    )


def _refuse_here(config: Config, found: Check) -> None:
    """What the file means and this machine has not, as types of messages."""
    for name, loop in config.loops.items():
        for direction, sections in (("inputs", loop.inputs), ("outputs", loop.outputs)):
            for key, section in sections.items():
                place = config.where("loops", name, direction, key)
                with _gathered(found.errors), port_errors(name, key, "judged", place):
                    section.refuse_here()


def _ask_devices(config: Config, judgement: Judgement, found: Check) -> None:
    """Configures every loop as a run does, which opens its devices, and lets them go again."""
    loops: dict[str, Loop] = {}
    for name in judgement.assembled:
        loop = Loop(config, name)
        with _gathered(found.errors):
            loop.open()
            loops[name] = loop
    for name, loop in loops.items():
        read = [section.read_output for section in loop.loop_config.inputs.values()]
        if any(other is not None and other[0] not in loops for other in read):
            continue  # that one has an error of its own
        with _gathered(found.errors):
            loop.configure(judgement.policies[name], loops.values())
            for port, place in loop.placed_ports:
                with _gathered(found.errors), port_errors(name, port.name, "asked", place):
                    if told := port.ask():
                        found.devices[port.name] = told
                        if held_back := told.get("latency_problem"):
                            found.warnings.append(Finding(held_back, place, severity="warning"))
            with _gathered(found.errors):
                loop.refuse_unready(clear=False)
    for loop in loops.values():
        with _gathered(found.errors):
            loop.cleanup()


def _time(config: Config, loop: LoopCheck, runner: core.Graph, found: Check) -> None:
    """Runs the graph until it is warm, then times it."""
    import numpy as np

    run_ns = _timed(runner)
    p50_ns, p99_ns = np.percentile(run_ns, [50, 99])
    loop.timed_runs = len(run_ns)
    loop.inference_p50_us, loop.inference_p99_us = p50_ns / 1000, p99_ns / 1000
    judged = judge_time(config, loop.name, run_ns, loop.policy)
    found.warnings += [finding for finding in judged if finding.severity == "warning"]
    wrong = [finding for finding in judged if finding.severity == "error"]
    if wrong:
        found.errors.append(ConfigError(wrong))


def _price(config: Config, loop: LoopCheck, graph: ComposedGraph, found: Check) -> None:
    """Calls the Python function as often as the loop will, alone and beside a busy thread."""
    if graph.call is None:
        return
    place = config.where("loops", loop.name, "policy", "python")
    period_ns = round(config.loops[loop.name].policy_period_s * 1_000_000_000)
    loop.observation = f"{graph.observation_size} values"
    loop.action = f"{graph.call.function.size} values"
    try:
        loop.price = price(graph.call.function, graph.observation_size, period_ns)
    except FunctionError as error:
        found.errors.append(ConfigError([Finding(str(error), place)]))
        return
    median_us = loop.price.alone.call_us.p50
    if median_us is not None and median_us * 1000 > period_ns:
        told = f"a function that takes {median_us / 1000:.3g} ms in the median, without any load"
        expected = f"at most {period_ns / 1e6:.9g} ms, the period of the policy: most answers would be late"
        found.warnings.append(Finding.of(place, told, expected, severity="warning"))


def _timed(runner: core.Graph) -> npt.NDArray[np.int64]:
    _, once_ns = runner.warm_up(1)
    fit = int(TIMED_S * 1e9 / max(1, once_ns[0]))
    runs = max(TIMED_RUNS_MIN, min(WARM_UP_RUNS, fit))
    runner.warm_up(runs)
    _, run_ns = runner.warm_up(runs)
    return run_ns


def _try_rights(config: Config, judgement: Judgement, found: Check) -> None:
    """Asks for what a run asks for: in threads that end at once, and for this process."""
    found.rights.append(kernel_report())
    process = ProcessRights(loop.realtime for loop in config.loops.values())
    try:
        for name, loop in config.loops.items():
            rights = process.of(loop.realtime)
            rights += _thread_rights(loop_thread(name, loop), name)
            rights += _thread_rights(guard_thread(name, loop), f"{name} guard")
            for port in _ports_with_threads(config, name):
                rights += _thread_rights(link_thread(port, loop), f"{name} {port}")
            found.rights += [right for right in rights if right not in found.rights]
            with _gathered(found.errors):
                refuse_denied(config, name, rights)
    finally:
        process.close()
    if not found.errors and _is_locked_within_a_limit(found.rights):
        # Now what is made counts against it, as in a run.
        with _gathered(found.errors):
            rehearse_storage(config, None, judgement)


def _ports_with_threads(config: Config, loop: str) -> list[str]:
    """Those of a loop whose samples and commands are carried by threads of their own: `link cart`."""
    sections = (*config.loops[loop].inputs.values(), *config.loops[loop].outputs.values())
    threaded = (s for s in sections if s.has_threads(config.links))
    return list(dict.fromkeys(f"{s.threads_of} {s.port_name}" for s in threaded))


def _is_locked_within_a_limit(rights: list[RightReport]) -> bool:
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    is_locked = any(right.name == "lock_memory" and right.granted for right in rights)
    return is_locked and limit != resource.RLIM_INFINITY


def _thread_rights(setup: core.ThreadSetup, name: str) -> list[RightReport]:
    rights: list[RightReport] = []

    def ask() -> None:
        rights.extend(report(right, name) for right in core.apply_to_this_thread(setup))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return rights
