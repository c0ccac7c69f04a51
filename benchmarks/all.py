"""Every benchmark in turn, each in a process of its own; one JSON file each, and one Markdown table.

Stop what else runs on the machine first. With the default times it takes about an hour.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import rendering
from benchmarks.command_line import EXIT_MISSED
from benchmarks.result import Result

#: In order, with the default --seconds of each: the quick ones first.
BENCHMARKS = {
    "overhead": 10.0,
    "inference": 30.0,
    "aot": 30.0,
    "composition": 30.0,
    "start_up": 30.0,
    "link_round_trip": 20.0,
    "wake_up": 60.0,
    "ten_khz": 60.0,
    "recorder": 30.0,
    "day": 432.0,
    "busy": 60.0,
    "clock": 300.0,
    "rates": 300.0,
    "topics": 30.0,
    "walker": 120.0,
    "memory": 600.0,
}
RESULTS = "results.md"


def run(name: str, seconds: float, out: Path) -> Result:
    """One benchmark; its result, which is also in ``out``."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", "--seconds", str(seconds)]
    if name == "busy" and importlib.util.find_spec("rclpy") is not None:
        command.append("--ros")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    try:
        result = Result.from_json(done.stdout)
    except ValueError:
        result = Result(name, name, unavailable=f"it broke off with code {done.returncode}")
    (out / f"{name}.json").write_text(result.to_json() + "\n", encoding="utf-8")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the results")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all times; 0.1 for a quick look"
    )
    parser.add_argument("--only", nargs="+", choices=sorted(BENCHMARKS), metavar="NAME")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = options.only or list(BENCHMARKS)
    results = []
    for i, name in enumerate(names, 1):
        seconds = BENCHMARKS[name] * options.scale
        print(f"[{i}/{len(names)}] {name}", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        result = run(name, seconds, options.out)
        results.append(result)
        verdict = "not run" if result.unavailable else "pass" if result.passed else "MISSED"
        print(f"  {verdict} after {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    text = _markdown(results)
    (options.out / RESULTS).write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(result.passed for result in results) else EXIT_MISSED


def _markdown(results: list[Result]) -> str:
    lines = [rendering.markdown(result) for result in results]
    machine = next((result.machine for result in results if result.machine), {})
    facts = [f"- {key}: {value}" for key, value in machine.items() if "hypervisor" not in key]
    return "\n".join(["### Machine", "", time.strftime("%Y-%m-%d"), "", *facts, "", *lines])


if __name__ == "__main__":
    sys.exit(main())
