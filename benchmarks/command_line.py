"""The front that every benchmark shares: its options, its output, its exit code."""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import rendering
from benchmarks.result import Result, UnavailableError
from rtloop import core
from rtloop.realtime import host

EXIT_MISSED, EXIT_UNAVAILABLE = 1, 3
EPILOG = """exit codes:
  0  every target was met
  1  a target was missed, or could not be judged
  3  the benchmark cannot run here; the message says what is missing
"""


def parser(doc: str | None, *, seconds: float, segments: int = 1) -> argparse.ArgumentParser:
    """``seconds`` and ``segments``: the defaults. Seconds are per thing that is measured."""
    parser = argparse.ArgumentParser(
        description=doc, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=seconds,
        help=f"for each thing that is measured, all segments together (default {seconds:g})",
    )
    if segments > 1:
        parser.add_argument(
            "--segments",
            type=int,
            default=segments,
            help=f"how often the things alternate (default {segments})",
        )
    cpus = core.allowed_cpus()
    parser.add_argument(
        "--cpu", type=int, default=cpus[-1], help="of the loop (default: the last one allowed)"
    )
    parser.add_argument("--priority", type=int, default=90, help="SCHED_FIFO (default 90)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def run(
    name: str,
    title: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace, Result], None],
) -> int:
    """Measures, prints, and returns the exit code. ``measure`` fills in the result."""
    options = parser.parse_args()
    result = Result(name, title)
    result.settings = {key: value for key, value in vars(options).items() if key != "json"}
    result.machine = _machine()
    stolen_before_s, began_s = host.stolen_s(), time.monotonic()
    try:
        measure(options, result)
    except UnavailableError as error:
        result.unavailable = str(error)
    stolen_s = host.stolen_s() - stolen_before_s
    share = stolen_s / (time.monotonic() - began_s) / (os.cpu_count() or 1)
    result.machine["stolen by the hypervisor"] = f"{100 * share:.2f} % of the CPU time of the run"
    print(result.to_json() if options.json else rendering.text(result))
    if result.unavailable:
        return EXIT_UNAVAILABLE
    return 0 if result.passed else EXIT_MISSED


def progress(text: str) -> None:
    """What is under way, where a person looks and no machine reads."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def _machine() -> dict[str, Any]:
    facts = host.facts()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return {
        "cpu": facts["cpu"],
        "kernel": facts["kernel"] + ("" if facts["preempt_rt"] else " (not PREEMPT_RT)"),
        "kernel preemption": _preemption(),
        "clock source": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "idle governor": _read("/sys/devices/system/cpu/cpuidle/current_governor"),
        "isolated CPUs": _read("/sys/devices/system/cpu/isolated") or "none",
        "versions": f"python {facts['python']}, {versions}",
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


def _preemption() -> str:
    """What the kernel was built for, and asked for at boot. Below `full`, a real-time thread waits while
    the kernel works for another process on its CPU: for milliseconds.
    """
    try:
        configuration = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except OSError:
        configuration = _read(f"/boot/config-{os.uname().release}")
    models = {"NONE": "none", "VOLUNTARY": "voluntary", "LAZY": "lazy", "RT": "rt", "": "full"}
    built = "unknown"
    for suffix, model in models.items():
        if f"\nCONFIG_PREEMPT{'_' if suffix else ''}{suffix}=y" in configuration:
            built = model
    asked = [word for word in _read("/proc/cmdline").split() if word.startswith("preempt=")]
    return " ".join([built, *asked])


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
