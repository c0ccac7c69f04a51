"""Whether a configuration can run here: judged before any device is asked, and before anything moves.

``rtloop check`` prints what these functions find. A run asks the same functions, when it configures, then
as it is set up: what they refuse, it refuses, in the same words and places.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rtloop import core
from rtloop.activation import Activation
from rtloop.assembly import Assembled, assemble, sink_of
from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import Config
from rtloop.config.problem import Keys
from rtloop.errors import ConfigError, Finding, HostRefusedError, Place, RtloopError, raise_all
from rtloop.policy import Policy
from rtloop.policy.commands import contradictions
from rtloop.policy.metadata import RATE
from rtloop.policy.opened import table_of
from rtloop.policy.probes import Probes
from rtloop.policy.show import defaults_told
from rtloop.realtime.rights import RightReport, denied
from rtloop.stopping import go_on
from rtloop.telemetry.observe.ring import NO_METADATA, make_ring_directory
from rtloop.telemetry.private import UnknownGroupError, file_mode

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


#: Rates are written with a few digits.
RATE_TOLERANCE = 1e-3


@dataclass
class Judgement:
    """What was found of the loops of a configuration, by their names; and what is wrong."""

    policies: dict[str, dict[str, Policy]] = field(default_factory=dict)
    """By loop, then by policy; "" the only one."""
    assembled: dict[str, dict[str, Assembled]] = field(default_factory=dict)
    """Likewise, with the elements that devices are assumed to have: a loop all of whose policies are here
    could run."""
    errors: list[RtloopError] = field(default_factory=list)

    def refuse(self) -> None:
        """Raises ConfigError, RecordingError, RtloopError with everything that is wrong, if anything is."""
        raise_all(self.errors)


def judge(config: Config, *, record: bool | None = None) -> Judgement:
    """Judges everything but what devices say, rights, and time. ``record`` overrides the configuration.

    Raises StoppedError.
    """
    judgement = Judgement()
    for name in config.loops:
        judgement.policies[name] = {}
        assembled = {}
        each = config.each_policy(name)
        for policy, alone in each.items():
            go_on()
            try:
                assembled[policy] = _judged(alone, name, policy, judgement)
            except RtloopError as error:
                judgement.errors.append(error.with_traceback(None))
        if len(assembled) == len(each):
            judgement.assembled[name] = assembled
    try:
        rehearse_storage(config, record, judgement)
    except RtloopError as error:
        judgement.errors.append(error.with_traceback(None))
    return judgement


def _judged(config: Config, name: str, called: str, judgement: Judgement) -> Assembled:
    """The loop ``name`` with one of its policies, which is kept as ``called``."""
    loop = config.loops[name]
    where = partial(config.where, "loops", name, "policy")
    policy = judgement.policies[name][called] = loop.policy.load(where)
    inputs = assumed_inputs(config, name, policy)
    outputs = assumed_outputs(loop, policy)
    return assemble(config, name, inputs, outputs, policy, are_assumed=True)


def rehearse_storage(config: Config, record: bool | None, judgement: Judgement) -> None:
    """Makes the folders of a run and all its rings at once, and removes them again.

    Raises RecordingError, RtloopError.
    """
    activation = claim(config, "check", record)
    rings = []
    try:
        for name, policies in judgement.assembled.items():
            graphs = [policy.graph for policy in policies.values()]
            n_inputs = max(sum(spec.size for spec in graph.inputs) for graph in graphs)
            n_outputs = max(graph.action.size for graph in graphs)
            rings.append(new_ring(config, name, activation.ring_path(name), n_inputs, n_outputs))
    finally:
        rings.clear()
        activation.undo()


def claim(config: Config, name: str, record: bool | None) -> Activation:
    """The folders of a new activation. Raises RecordingError, RtloopError."""
    recording = config.recording
    try:
        return Activation.claim(
            name,
            Path(recording.directory),
            record=recording.enabled if record is None else record,
            group=recording.group,
        )
    except UnknownGroupError as error:
        raise error.at(config.where("recording", "group")) from None
    except RtloopError as error:
        raise error.at(config.where("recording", "directory")) from None


def new_ring(
    config: Config, name: str, path: Path, n_inputs: int, n_outputs: int
) -> core.RingWriter:
    """The ring of the loop ``name``, of so many values. Raises RtloopError."""
    loop = config.loops[name]
    place = config.where("loops", name, "ring_seconds")
    try:
        make_ring_directory(path.parent, config.recording.group)
        ring = core.RingWriter(
            str(path), loop.ring_cycles, len(loop.sources), n_inputs, n_outputs, NO_METADATA
        )
        path.chmod(file_mode(path.parent))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            free = shutil.disk_usage(path.parent).free / 2**20
            lacks, cure = f"{_mount(path)} has no room", "a larger /dev/shm"
            told = f" ({free:.1f} MiB free)"
        elif error.errno == errno.EAGAIN:  # of memory that is locked as it is made
            lacks, cure, told = "RLIMIT_MEMLOCK has no room", "a higher limit (ulimit -l)", ""
        else:
            raise _no_ring(name, place, error) from error
        found = f"a ring of {loop.ring_cycles} cycles, for which {lacks} beside the others{told}"
        expected = f"a smaller ring_seconds, a lower rate, or {cure}"
        raise RtloopError([Finding.of(place, found, expected)]) from error
    except ValueError as error:
        raise _no_ring(name, place, error) from error
    return ring


def _no_ring(name: str, place: Place, error: Exception) -> RtloopError:
    return RtloopError([Finding(f"loop '{name}' cannot be activated: {error}", place)])


def _mount(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if os.path.ismount(parent))


_KEYS = {
    "scheduler": "scheduler",
    "cpu_affinity": "cpu_affinity",
    "lock_memory": "lock_memory",
    "cpu_dma_latency": "cpu_dma_latency_us",
}
"""By the name of a right, the key that asks for it."""


def refuse_denied(config: Config, name: str, rights: Sequence[RightReport]) -> None:
    """Raises HostRefusedError where the loop ``name`` demands rights of which some were denied."""
    if config.loops[name].realtime.on_denied != "fail":
        return
    findings = []
    for right in denied(rights):
        key = _KEYS.get(right.name.rpartition(" ")[2])
        place = config.where("loops", name, "realtime", *([key] if key else []))
        message = f"demanded (on_denied: fail), and denied: {right}"
        findings.append(Finding(message, place, right.actual, right.requested))
    if findings:
        raise HostRefusedError(findings)


def refuse_slow(config: Config, name: str, run_ns: npt.NDArray[np.int64]) -> None:
    """Raises ConfigError for a policy that is too slow here. ``run_ns``: what single runs took."""
    wrong = [f for f in judge_time(config, name, run_ns) if f.severity == "error"]
    if wrong:
        raise ConfigError(wrong)


def judge_zeros(config: Config, name: str, policy: Policy) -> list[Finding]:
    """A warning of outputs of the policy that are NaN or infinite where all that it reads is zero.

    No error: zeros need not be among what it will observe.
    """
    read = [after for _, after in policy.state]
    if policy.action is not None:
        read.insert(0, policy.action)
    outputs = ", ".join(repr(output.name) for output in read if not output.is_finite)
    if not outputs:
        return []
    found = f"a policy that gives NaN or infinity ({outputs}) where all that it reads is 0"
    expected = "finite values: a command that is not is a FAULT. Bound what Log, Sqrt and Div read"
    place = config.where("loops", name, "policy", "model")
    return [Finding.of(place, found, expected, severity="warning")]


def judge_probes(
    config: Config, name: str, policy: Policy, assembled: Assembled
) -> tuple[list[Finding], list[str]]:
    """Warnings of a policy that looks wrong when it is tried with made-up inputs: see ``policy.probes``.

    And notes of what was not tried.
    """
    if policy.function is not None:  # it may take its time, and do anything
        return [], []
    loop = config.loops[name]
    inputs, outputs = assumed_inputs(config, name, policy), assumed_outputs(loop, policy)
    table = table_of(config, name, policy, inputs, outputs)
    model_at: Keys = ("policy", "observation")
    if policy.acting is not None:
        at, _, _ = loop.policy.sections[policy.acting.name]
        model_at = ("policy", *at, "model")
    probes = Probes(assembled.graph, assembled.runner, policy, table, model_at)
    found = [
        Finding.of(
            config.where("loops", name, *probed.keys),
            probed.found,
            probed.expected,
            severity="warning",
        )
        for probed in probes.findings()
    ]
    return found, probes.notes


def judge_commands(config: Config, name: str, policy: Policy) -> list[Finding]:
    """Warnings of commands that numbers of the file contradict: see ``policy.commands``."""
    loop = config.loops[name]
    inputs, outputs = assumed_inputs(config, name, policy), assumed_outputs(loop, policy)
    sinks = {key: sink_of(loop.outputs[key], signals) for key, signals in outputs.items()}
    return [
        Finding.of(
            config.where("loops", name, *doubt.keys),
            doubt.found,
            doubt.expected,
            severity="warning",
        )
        for doubt in contradictions(loop, policy, inputs, outputs, sinks)
    ]


def uncommanded(config: Config, name: str, policy: Policy) -> list[str]:
    """Elements that no action commands, a sentence for each default."""
    loop = config.loops[name]
    inputs, outputs = assumed_inputs(config, name, policy), assumed_outputs(loop, policy)
    return defaults_told(table_of(config, name, policy, inputs, outputs).command)


def judge_rate(config: Config, name: str, policy: Policy) -> list[Finding]:
    """A warning of a loop that runs at another rate than its model says that it was trained at, or where what
    that says cannot be read."""
    loop = config.loops[name]
    told = policy.rate_hz
    rate_hz = float(1 / loop.policy_period_s)
    unread = policy.unreadable_rate
    if told is None and unread:
        place = config.where("loops", name, "policy", "model")
        found = f"'{RATE[0]}' in the metadata of its model, which cannot be read: {unread}"
        expected = "a number of Hz above 0: the rate is judged by it"
        return [Finding.of(place, found, expected, severity="warning")]
    if told is None or abs(rate_hz - told) <= RATE_TOLERANCE * told:
        return []
    key = "rate_hz" if loop.rate_hz is not None else "period_ms"
    found = f"a policy that runs at {rate_hz:.6g} Hz"
    teller = "the metadata of its model say" if loop.policy.leapp is None else "its bundle says"
    expected = f"{told:.6g} Hz, as {teller}"
    place = config.where("loops", name, key)
    return [Finding.of(place, found, expected, severity="warning")]


def judge_time(
    config: Config, name: str, run_ns: npt.NDArray[np.int64], called: str = ""
) -> list[Finding]:
    """What is wrong with the time that single runs of the policy took here; ``called`` is one of several.

    A median above deadline or budget is an error: most cycles would be late. A 99th percentile above
    them is a warning.
    """
    import numpy as np

    loop = config.loops[name]
    findings = []
    median_ns, p99_ns = (int(np.percentile(run_ns, q)) for q in (50, 99))
    for key, limit_ns in (("deadline_ms", loop.deadline_ns), ("budget_ms", loop.budget_ns)):
        if limit_ns is None or p99_ns <= limit_ns:
            continue
        is_wrong = median_ns > limit_ns
        taken = f"{median_ns / 1e6:.3g} ms in the median" if is_wrong else f"{p99_ns / 1e6:.3g} ms"
        often = "" if is_wrong else " once in a hundred times"
        who = f"policy '{called}', which" if called else "a policy that"
        found = f"{who} takes {taken}{often} (of {len(run_ns)} runs on this host)"
        expected = (
            f"at most {limit_ns / 1e6:.9g} ms, its {key.removesuffix('_ms')}: take a smaller or "
            "quantized policy, a lower rate, or a faster CPU"
        )
        place = config.where("loops", name, key)
        severity: Literal["error", "warning"] = "error" if is_wrong else "warning"
        findings.append(Finding.of(place, found, expected, severity=severity))
    return findings
