"""Loops in the words of /diagnostics: one DiagnosticStatus each."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from rtloop.config import Config
from rtloop.realtime.rights import denied, kernel_report
from rtloop.run import Run
from rtloop.telemetry.observe.shares import window_s
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary

_PLAIN_VALUES = (
    *("state", "rate_hz", "period_ms", "deadline_ms"),
    *("elapsed_periods", "executed", "skipped", "slipped_periods"),
    *("misses", "records_lost"),
)


def in_ros_words(text: str) -> str:
    """An error's text, with the node's parameter for the command line's option."""
    return text.replace("--clear", "the parameter clear:=true")


def active_status(node: str, run: Run, name: str) -> DiagnosticStatus:
    """A loop of an active run, since the previous call. Call ``run.observe()`` first."""
    observed, loop = run.observed[name], run.loops[name]
    window = observed.statistics.window()
    fault = in_ros_words(loop.fault())
    recently = f"(last {window_s(loop.loop_config.period_ns):g} s)"
    shares = observed.statistics.recent_shares()
    too_much = [f"{share} {recently}" for share in shares if share.is_over]
    warnings = [run.recording_error] if run.recording_error else []
    warnings += [str(losses) for losses in loop.losses() if losses.is_lost or not losses.is_armed]
    if observed.statistics.executed == 0:
        warnings.append("no cycle was executed yet")
    if window.misses:
        loop_class = loop.loop_config.loop_class
        warnings.append(f"{window.misses} {loop_class} deadline misses in {window.seconds:.1f} s")
    # A hard miss latches FAULT: there is no hard miss without one.
    if fault:
        level, message = DiagnosticStatus.ERROR, fault
    elif too_much:
        level, message = DiagnosticStatus.ERROR, "; ".join([*too_much, *warnings])
    elif warnings:
        level, message = DiagnosticStatus.WARN, "; ".join(warnings)
    else:
        level, message = DiagnosticStatus.OK, "every deadline met"
    values = _values(observed.statistics.summary(status=observed.ring.status()))
    values |= {
        "rate_hz": window.rate_hz,
        "response_p50_us": window.response_p50_us,
        "response_p99_us": window.response_p99_us,
        **_acting(observed.statistics),
        "fault": fault,
        "denied_rights": ", ".join(r.name for r in denied([kernel_report(), *loop.rights])),
    }
    return _status(node, run.config, name, level, message, values)


def _acting(statistics: LoopStatistics) -> dict[str, Any]:
    """Of a loop with several policies: which one acts, and the newest change; the report has all."""
    switches = statistics.switches
    if not switches.acting:
        return {}
    newest = switches.newest()
    return {"policy": switches.acting, "took_over": str(newest[-1]) if newest else None}


def inactive_status(node: str, run: Run, name: str) -> DiagnosticStatus:
    """A loop that does not run, and what its newest activation came to, if there was one."""
    loop = run.config.loops[name]
    values = {
        "class": loop.loop_class,
        "state": "inactive",
        "period_ms": loop.period_ns / 1e6,
        "deadline_ms": loop.deadline_ns / 1e6,
    }
    if run.summary is not None and name in run.summary.loops:  # it may have been stopped before
        values = _values(run.summary.loops[name])
    return _status(node, run.config, name, DiagnosticStatus.STALE, "inactive", values)


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


def _status(
    node: str, config: Config, name: str, level: bytes, message: str, values: Mapping[str, Any]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f"{node}: {name}",
        message=message,
        hardware_id=_hardware_id(config, name),
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def _hardware_id(config: Config, name: str) -> str:
    found = (section.hardware_id(config.links) for section in config.loops[name].port_sections)
    devices = dict.fromkeys(device for device in found if device)
    return ", ".join(devices) or socket.gethostname()


def _text(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
