"""The robot of `rtloop demo quadruped` in real time: how far it walks, whether it falls, what its loop misses.

First as the demo is. Then the policy alone at 50 Hz, due after 10 ms, with every 4th, every 2nd and each
inference made 15 ms long after 2 s, in a firm loop, which discards those results, and the last in a soft loop,
too. Each walk takes --seconds, one after the other. --write puts them into docs/policy.md, with their
conditions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import command_line
from benchmarks.result import Result, Table, Target, UnavailableError
from rtloop.config import Config
from rtloop.demos.demo import DEMOS, Disturbances, Overload, demo_config, run_of
from rtloop.demos.firmware import FirmwareProcess
from rtloop.demos.quadruped.live import LIVE, Walk
from rtloop.errors import RtloopError
from rtloop.realtime.rights import denied
from rtloop.run import Run

ROOT = Path(__file__).parents[1]
POLICY = ROOT / "rtloop" / "demos" / "quadruped" / "policy.onnx"
PERIOD_S = 0.02
DEADLINE_MS = 10.0
#: Longer than the deadline by as much as it is shorter than the period: a miss, and no release skipped.
SLOW_PERIODS = 0.75
#: Where it is told to go 0.5 m/s.
LEAST_M_S = 0.4


@dataclass(frozen=True)
class Variant:
    """A walk: a loop of the overloaded demo, and of how many inferences one is too slow; 0: the demo itself.

    ``walks``: whether it is to get anywhere.
    """

    name: str
    loop: str = ""
    slow_of: int = 0
    walks: bool = True

    def config(self) -> Config:
        config = demo_config(DEMOS["quadruped"], overload=bool(self.slow_of))
        if not self.slow_of:
            return config
        loop = config.loops[self.loop].with_values(deadline_ms=DEADLINE_MS)
        link = f"{self.loop.partition('_')[0]}_robot"
        return config.with_values(loops={self.loop: loop}, links={link: config.links[link]})

    def overload(self) -> Overload | None:
        if not self.slow_of:
            return None
        return Overload(self.slow_of * PERIOD_S, SLOW_PERIODS)


VARIANTS = (
    Variant("the demo: firm at 500 Hz"),
    Variant("firm at 50 Hz, every 4th late", "firm_walk", 4),
    Variant("firm at 50 Hz, every 2nd late", "firm_walk", 2),
    Variant("firm at 50 Hz, all late", "firm_walk", 1, walks=False),
    Variant("soft at 50 Hz, all late", "soft_walk", 1),
)


def walk(variant: Variant, seconds: float, seed: int) -> tuple[Walk, list[str]]:
    """One of them, and the rights that it was denied. Raises RtloopError."""
    demo = DEMOS["quadruped"]
    disturbances = Disturbances(overload=bool(variant.slow_of), seed=seed)
    with run_of(
        demo, variant.config(), disturbances, overload=variant.overload(), record=False
    ) as (run, (device,)):
        with run:
            run.wait(seconds, _Progress(variant.name, run, device))
        summary = run.stop()
        told = device.stop()
    problems = demo.problems({"robot": told})
    if problems:
        command_line.progress("; ".join(problems))
    if not all(key in told for key in ("driven_s", *demo.device_tells)):
        raise RtloopError(f"{variant.name}: {demo.account(told)}")
    (loop,) = summary.loops.values()
    found = Walk(
        name=variant.name,
        seconds=told["driven_s"],
        ahead_m=told["ahead_m"],
        fell_at_s=told["fell_at_s"],
        largest_tilt_rad=told["largest_tilt_rad"],
        elapsed=loop.elapsed_periods,
        executed=loop.executed,
        skipped=loop.skipped,
        missed=loop.misses,
        refused=told["counters"]["late_commands"],
        ended=f"{told['state']} ({', '.join(told['reasons'])})",
        stopped="; ".join(p for p in summary.problems if p not in problems).replace(
            f" ({device.link})", ""
        ),  # a folder of its own
    )
    return found, [right.name for right in denied(summary.rights) if right.name != "kernel"]


class _Progress:
    """A line each minute."""

    def __init__(self, name: str, run: Run, device: FirmwareProcess) -> None:
        self._name, self._run, self._device = name, run, device
        self._began_s = self._told_s = time.monotonic()

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < 60:
            return
        self._told_s = now_s
        for observed in self._run.observed.values():
            status = DEMOS["quadruped"].status(observed.newest_inputs, self._device)
            misses = observed.statistics.misses
            minutes = (now_s - self._began_s) / 60
            command_line.progress(f"{self._name}: {minutes:.0f} min, {status}, {misses} missed")


def measure(options: argparse.Namespace, result: Result) -> None:
    if missing := DEMOS["quadruped"].missing():
        raise UnavailableError(missing)
    table = Table(
        ["", "s", "ahead m", "falls", "tilt °", "missed", "skipped", "refused", "N", "board"]
    )
    result.tables.append(table)
    walks = []
    for variant in VARIANTS:
        command_line.progress(f"{variant.name}, {options.seconds:g} s")
        try:
            found, refused_rights = walk(variant, options.seconds, options.seed)
        except RtloopError as error:
            raise UnavailableError(str(error)) from None
        walks.append(found)
        table.add(variant.name, *found.cells())
        if found.stopped:
            result.notes.append(f"{found.name}, after {found.seconds:.0f} s: {found.stopped}")
        result.denied = sorted({*result.denied, *refused_rights})
        result.targets += _targets(variant, found, options.seconds)
    result.settings["walks"] = [asdict(found) for found in walks]


def _targets(variant: Variant, found: Walk, asked_s: float) -> list[Target]:
    left = found.elapsed - found.executed - found.skipped
    targets = [Target(f"{variant.name}: elapsed - executed - skipped", left, "=", 0)]
    if variant.walks:
        fell = float(found.fell_at_s is not None)
        least_m = LEAST_M_S * asked_s
        targets.append(Target(f"{variant.name}: falls", fell, "=", 0))
        targets.append(Target(f"{variant.name}: ahead", found.ahead_m, "≥", least_m, " m"))
    return targets


def write(result: Result) -> None:
    """For docs/policy.md, which is made from it."""
    settings = result.settings
    content = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "asked_s": settings["seconds"],
        "seed": settings["seed"],
        "policy_sha256": hashlib.sha256(POLICY.read_bytes()).hexdigest(),
        "denied": result.denied,
        "machine": result.machine,
        "walks": settings["walks"],
        "missed_targets": [
            f"{t.text}: {t.value:.3g}{t.unit} ({t.relation} {t.limit:g})"
            for t in result.targets
            if t.value is not None and not t.passed
        ],
    }
    LIVE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, str(ROOT / "docs" / "tables.py")], check=True, stdout=2)


def main() -> int:
    parser = command_line.parser(__doc__, seconds=600)
    parser.add_argument(
        "--minutes",
        type=lambda text: 60 * float(text),
        dest="seconds",
        metavar="MINUTES",
        default=argparse.SUPPRESS,
        help="the same as 60 times as many --seconds",
    )
    parser.add_argument("--seed", type=int, default=1, help="of noise and pushes (default 1)")
    parser.add_argument("--write", action="store_true", help="into docs/policy.md, too")
    results: list[Result] = []

    def measured(options: argparse.Namespace, result: Result) -> None:
        measure(options, result)
        results.append(result)

    code = command_line.run("walker", "a walking robot whose loop is late", parser, measured)
    if results and results[0].settings["write"]:
        write(results[0])
    return code


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
