"""Every hostile device in a whole run, through the command line: what rtloop must do about each.

Whatever a device does: no traceback, an end in bounded time, STOP last on the line once a device was armed,
elapsed periods = executed + skipped, no command outside the limits, and a non-zero exit code exactly where
``expected`` promises one.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import accounting, clock, running, starting, stopping
from tests.hostile.device import Clean, Device, Faulted, Problem, Refused
from tests.hostile.wire import ARM, COMMAND, HISTOGRAM_REQUEST, STATS_REQUEST, STOP
from tests.running import POLICY, rtloop

#: More than a whole run with every time limit used up.
ENDS_WITHIN_S = 40
#: Most of a scenario is waiting.
AT_ONCE = 4

#: Generous: shared machines stall. A cycle that takes ten periods counts as hung.
CONFIGURATION = """\
links:
  cart: {{device: {device}, command_timeout_ms: 600, baud: 12000000}}
recording: {{enabled: false}}
loops:
  balance:
    class: soft
    rate_hz: 25
    max_share: {{missed: 1, skipped: 1}}  # of what the machine stalls, in a run of twenty cycles
    inputs:
      cart: {{link: cart, max_age_ms: 900, on_stale: fault}}
    policy:
      model: {model}
      observation:
        - {{input: cart}}
      action: {{scale: 10.0, clip: [-10, 10]}}
    outputs:
      cart: {{link: cart, min: -10, max: 10, safe: 0.0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
"""

HOSTILE: list[type[Device]] = [
    device
    for module in (starting, running, clock, stopping, accounting)
    for device in vars(module).values()
    if isinstance(device, type) and device.__module__ == module.__name__
]


def named(device: type[Device]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z0-9])", "_", device.__name__).lower()


@dataclass(frozen=True)
class Outcome:
    """What became of a run; ``stdout`` is its summary."""

    exit_code: int
    stdout: str
    stderr: str
    device: Device

    @property
    def summary(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.stdout)
        return result

    @property
    def told(self) -> str:
        return f"exit code {self.exit_code}\n{self.stderr}\n{self.stdout}"


def run_with(hostile: type[Device], folder: Path) -> Outcome:
    with hostile() as device:
        file = folder / f"{named(hostile)}.yaml"
        file.write_text(CONFIGURATION.format(device=device.path, model=POLICY))
        # A fault ends it.
        duration_s = 15 if isinstance(hostile.expected, Faulted) else device.run_s
        arguments = ("run", file, "--duration", duration_s, "--json", "--no-record")
        done: subprocess.CompletedProcess[str] = rtloop(*arguments, timeout=ENDS_WITHIN_S)
    return Outcome(done.returncode, done.stdout, done.stderr, device)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[type[Device], Future[Outcome]]]:
    """Of the devices that were asked for, some at a time."""
    folder = tmp_path_factory.mktemp("hostile")
    wanted = {item.nodeid for item in request.session.items}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            hostile: pool.submit(run_with, hostile, folder)
            for hostile in HOSTILE
            if any(nodeid.endswith(f"[{named(hostile)}]") for nodeid in wanted)
        }


@pytest.mark.parametrize("hostile", HOSTILE, ids=named)
def test_a_hostile_device_is_dealt_with(
    hostile: type[Device], outcomes: dict[type[Device], Future[Outcome]]
) -> None:
    outcome = outcomes[hostile].result()
    assert "Traceback" not in outcome.stderr, outcome.told
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", outcome.stderr), outcome.told
    if not outcome.device.was_unplugged and outcome.device.reads:
        asked = (STATS_REQUEST, HISTOGRAM_REQUEST)  # of a device that is SAFE
        types = [p.type for p in outcome.device.received if p.type not in asked]
        assert ARM not in types or types[-1] == STOP
    for packet in outcome.device.received:
        if packet.type == COMMAND:
            (force,) = struct.unpack_from("<f", packet.payload, 8)
            assert -10 <= force <= 10
    expected = hostile.expected
    if isinstance(expected, Refused):
        assert COMMAND not in [packet.type for packet in outcome.device.received]
        assert outcome.exit_code == expected.exit_code, outcome.told
        assert re.search(expected.says, outcome.stderr), outcome.told
        assert json.loads(outcome.stdout)["exit_code"] == expected.exit_code
        return
    loop = outcome.summary["loops"]["balance"]
    assert loop["elapsed_periods"] == loop["executed"] + loop["skipped"]
    problems = "\n".join(outcome.summary["problems"])
    if isinstance(expected, Faulted):
        assert loop["state"] == "fault", outcome.told
        assert re.fullmatch(expected.reason, loop["fault_reason"]), outcome.told
        assert re.search(expected.says, problems), outcome.told
    else:
        assert loop["state"] != "fault", outcome.told
    if isinstance(expected, Problem):
        failures = "\n".join(loop["failures"])
        assert re.search(expected.says, f"{problems}\n{failures}"), outcome.told
    if isinstance(expected, Clean):
        assert problems == ""
        assert loop["executed"] > 5
    assert outcome.exit_code == (0 if isinstance(expected, Clean) else 1), outcome.told
