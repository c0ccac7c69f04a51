"""A node and its loops in the words of /diagnostics: one DiagnosticStatus each, and those of their ports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from rtloop.config import Config
from rtloop.realtime.rights import denied, kernel_report
from rtloop.run import Run
from rtloop.telemetry.live.followed import Followed
from rtloop.telemetry.observe.shares import window_s
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.observe.words import explain, find

from .port_diagnostics import PortDiagnostics, input_status
from .states import State
from .status import ERROR, OK, WARN, Threshold, Thresholds, status

_PLAIN_VALUES = (
    *("state", "rate_hz", "period_ms", "deadline_ms"),
    *("elapsed_periods", "executed", "skipped", "slipped_periods"),
    *("misses", "records_lost"),
)
#: A loop that is active and has begun no cycle for so long, or for so many periods, stands still.
_STANDS_NS, _STANDS_PERIODS = 1_000_000_000, 3
_Found = tuple[bytes, str]
"""A level, and a sentence that says why."""
_ANY: Thresholds = dict.fromkeys(("misses", "skipped", "stale"), Threshold())


def in_ros_words(text: str) -> str:
    """An error's text, with what the node has for the command line's option."""
    rearm = "the service ~/rearm"
    return text.replace("activate the loop anew with --clear", f"call {rearm}").replace(
        "--clear", rearm
    )


def lifecycle_status(node: str, state: State) -> DiagnosticStatus:
    """The node itself: in which state it is, and why the newest transition failed."""
    failed = in_ros_words(state.failure)
    message = f"{state.label}: {failed}" if failed else state.label
    run = state.run
    values = {
        "state": state.label,
        "config": None if run is None else run.config.path,
        "failure": failed,
    }
    return status(f"{node}: lifecycle", WARN if failed else OK, message, values)


class _Looks:
    """What the statistics of a loop tell of the time since the previous look."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}

    def judge(
        self,
        statistics: LoopStatistics,
        summary: LoopSummary,
        thresholds: Thresholds,
        fault: str,
        beside: Iterable[str],
    ) -> tuple[bytes, str, dict[str, Any]]:
        """Level, message and values. ``fault`` is empty where there is none, ``beside`` are more warnings."""
        window = statistics.window()
        now = _counts(summary)
        counts = {name: n - self._before.get(name, 0) for name, n in now.items()}
        self._before = now
        found: list[_Found] = [(ERROR, fault)] if fault else []
        if not fault:
            recently = f"(last {window_s(statistics.metadata.period_ns):g} s)"
            found += [(ERROR, f"{s} {recently}") for s in statistics.recent_shares() if s.is_over]
            found += _judged(counts, summary.loop_class, window.seconds, thresholds)
            found += [(WARN, text) for text in beside]
            if statistics.executed == 0:
                found.append((WARN, "no cycle was executed yet"))
        found.sort(key=lambda one: one[0], reverse=True)
        values = {
            **_values(summary),
            "rate_hz": window.rate_hz,
            "response_p50_us": window.response_p50_us,
            "response_p99_us": window.response_p99_us,
            **_acting(statistics),
            **{key: now[key] for key in ("stale", "dropped", "refused", "limit_broken")},
            "fault": fault,
        }
        message = "; ".join(text for _, text in found) or "every deadline met"
        return found[0][0] if found else OK, message, values


class LoopDiagnostics:
    """A loop of one activation of a run; each look tells of the time since the one before."""

    def __init__(self, node: str, run: Run, name: str) -> None:
        """``node`` is its fully qualified name."""
        self._node = node
        self._run = run
        self._name = name
        self._looks = _Looks()
        self._ports = PortDiagnostics(node, run, name)

    def statuses(self, thresholds: Thresholds) -> list[DiagnosticStatus]:
        """The loop, its inputs and its topics. Call ``run.observe()`` first."""
        return [self._loop(thresholds), *self._ports.statuses(thresholds["stale"])]

    def at_rest(self, run: Run, transition: str = "") -> list[DiagnosticStatus]:
        """What was told of its ports, of ``run`` that is not active; nothing where it was another run's."""
        return self._ports.at_rest(transition or "inactive") if run is self._run else []

    def _loop(self, thresholds: Thresholds) -> DiagnosticStatus:
        observed, loop = self._run.observed[self._name], self._run.loops[self._name]
        beside = [self._run.recording_error] if self._run.recording_error else []
        beside += [str(lost) for lost in loop.losses() if lost.is_lost or not lost.is_armed]
        level, message, values = self._looks.judge(
            observed.statistics, observed.so_far(), thresholds, in_ros_words(loop.fault()), beside
        )
        values["denied_rights"] = ", ".join(r.name for r in denied([kernel_report(), *loop.rights]))
        devices = _devices(self._run.config, self._name)
        return status(f"{self._node}: {self._name}", level, message, values, devices)


def _counts(summary: LoopSummary) -> dict[str, int]:
    skipped = summary.skipped + summary.slipped_periods
    return {
        "executed": summary.executed,
        "releases": summary.executed + skipped,
        "misses": summary.misses,
        "skipped": skipped,
        "stale": summary.stale_inputs,
        "dropped": summary.outcomes.get("dropped", 0),
        "refused": summary.device_late_commands,
        "limit_broken": summary.limit_broken,
    }


def _judged(
    counts: Mapping[str, int], loop_class: str, seconds: float, thresholds: Thresholds
) -> Iterator[_Found]:
    """What a healthy loop has none of, since the previous message."""
    told = {
        "misses": f"{counts['misses']} {loop_class} deadline misses in {seconds:.1f} s",
        "skipped": f"{counts['skipped']} releases skipped",
        "stale": f"{counts['stale']} cycles without fresh input",
    }
    for name, text in told.items():
        of = counts["releases" if name == "skipped" else "executed"]
        if (level := thresholds[name].level(counts[name], of)) != OK:
            yield level, text
    if counts["dropped"]:
        yield WARN, f"{counts['dropped']} commands dropped: they could not be sent"
    if counts["refused"]:
        yield WARN, f"{counts['refused']} commands refused by the device: they came too late"
    if counts["limit_broken"]:
        yield ERROR, f"the limit of lost jobs was broken: {counts['limit_broken']} times"


class FollowedDiagnostics:
    """A loop of any process, by its ring alone; each look tells of the time since the one before."""

    def __init__(self, name: str, followed: Followed) -> None:
        """``name`` is that of its status."""
        self._name = name
        self._followed = followed
        self._looks = _Looks()

    def statuses(self) -> list[DiagnosticStatus]:
        """The loop, and each of its inputs."""
        inputs = self._followed.inputs.take()
        of_inputs = (
            input_status(f"{self._name}.{window.name}", window, Threshold()) for window in inputs
        )
        return [self._loop(), *of_inputs]

    def ended(self) -> DiagnosticStatus:
        """What it came to, once it has ended."""
        pid = self._followed.ring.writer.pid
        level, message = OK, "ended"
        if self._followed.ring.status()["state"] != "finalized":
            level = ERROR
            message = f"its process {pid} died before it was ended; `rtloop recover` saves what was recorded"
        values = {**self._whose(), **_values(self._followed.summary())}
        values["records_lost"] = self._followed.records_lost
        return status(self._name, level, message, values)

    def _loop(self) -> DiagnosticStatus:
        followed, summary = self._followed, self._followed.summary()
        word = find("fault_reasons", summary.fault_reason)
        fault = ""
        if summary.fault_reason != "none":
            fault = summary.fault_reason if word is None else explain(word)
        level, message, values = self._looks.judge(
            followed.statistics, summary, _ANY, fault, [*summary.absences, *self._standing(summary)]
        )
        values["records_lost"] = followed.records_lost
        return status(self._name, level, message, {**self._whose(), **values})

    def _standing(self, summary: LoopSummary) -> Iterator[str]:
        """Of a process that was stopped nothing else is to be seen: neither state nor counters change."""
        said, last_ns = self._followed.metadata, self._followed.statistics.last_start_ns
        in_lock_step = said.realtime_ns_offset == 0  # whose clock may stand
        if summary.state != "active" or in_lock_step or last_ns == 0:
            return
        since_ns = time.monotonic_ns() - last_ns
        if since_ns > max(_STANDS_NS, _STANDS_PERIODS * said.period_ns):
            yield f"no cycle for {since_ns / 1e9:.1f} s"

    def _whose(self) -> dict[str, Any]:
        ring = self._followed.ring
        return {"run_id": ring.metadata.run_id, "pid": ring.writer.pid}


def _acting(statistics: LoopStatistics) -> dict[str, Any]:
    """Of a loop with several policies: which one acts, and the newest change; the report has all."""
    switches = statistics.switches
    if not switches.acting:
        return {}
    newest = switches.newest()
    return {"policy": switches.acting, "took_over": str(newest[-1]) if newest else None}


def inactive_status(node: str, run: Run, name: str, transition: str = "") -> DiagnosticStatus:
    """A loop that does not run, and what its newest activation came to, if there was one.

    ``transition`` is the one that is under way: then it may run still, or already.
    """
    loop = run.config.loops[name]
    values = {
        "class": loop.loop_class,
        "state": "inactive",
        "period_ms": loop.period_ns / 1e6,
        "deadline_ms": loop.deadline_ns / 1e6,
    }
    if run.summary is not None and name in run.summary.loops:  # it may have been stopped before
        values = _values(run.summary.loops[name])
    if transition:
        values["state"] = transition
    message = transition or "inactive"
    # Not STALE: an aggregator makes an error of a group with one of these.
    return status(f"{node}: {name}", OK, message, values, _devices(run.config, name))


def _values(summary: LoopSummary) -> dict[str, Any]:
    """A loop's part of the ``--json`` summary, by the same names."""
    return {
        "class": summary.loop_class,
        **{key: getattr(summary, key) for key in _PLAIN_VALUES},
        "response_p50_us": summary.response_us.p50,
        "response_p99_us": summary.response_us.p99,
        "response_max_us": summary.response_us.max,
        "release_latency_p99_us": summary.release_latency_us.p99,
        "failures": in_ros_words("; ".join(summary.failures)),
    }


def _devices(config: Config, name: str) -> str:
    found = (section.hardware_id(config.links) for section in config.loops[name].port_sections)
    return ", ".join(dict.fromkeys(device for device in found if device))
