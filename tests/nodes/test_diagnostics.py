"""What /diagnostics says of a loop while it runs, without a node around it."""

from __future__ import annotations

import time
from pathlib import Path

from rtloop import core
from rtloop.config import load
from rtloop.run import Run
from tests.nodes.ros import ERROR, WARN, Status
from tests.running import POLICY, wait_for
from tests.test_switch import path

__all__ = ["path"]

LOOP = """\
loops:
  balance:
    class: soft
    rate_hz: 200
    inputs:
      cart: {{mailbox: [0, 0, 0, 0], max_age_ms: 1000}}
    policy: {{model: {policy}, observation: [{{input: cart}}]}}
    outputs:
      force: {{mailbox: true, size: 1, safe: 0.0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1}}
"""


def test_a_loop_that_acts_on_nothing_new_is_an_error_while_it_runs(tmp_path: Path) -> None:
    from rtloop.nodes.diagnostics import active_status, inactive_status

    path = tmp_path / "loop.yaml"
    path.write_text(LOOP.format(policy=POLICY))
    run = Run(load(path), "told", record=False)

    def told() -> Status:
        run.observe()
        return Status(active_status("node", run, "balance"))

    with run:
        loop = run.loops["balance"]
        while loop.status()["executed"] < 20:
            loop.write_input("cart", [0.0, 0.0, 0.0, 0.0])
            time.sleep(0.01)
        first = told()
        assert first.level != ERROR
        assert "stale" not in first.message
        end_s = time.monotonic() + 20
        while (now := told()).level != ERROR:
            assert time.monotonic() < end_s, "nobody feeds it, and nobody says so"
            time.sleep(0.1)
        assert "of the cycles, limit 5 % (last 10 s)" in now.message
        assert now.message.startswith("stale ")
        assert now.values["state"] == "active"
        run.deactivate()
        ended = Status(inactive_status("node", run, "balance"))
    assert ended.values["failures"].startswith("stale ")


def test_a_loop_that_has_not_run_yet_has_met_nothing(tmp_path: Path) -> None:
    from rtloop.nodes.diagnostics import active_status

    path = tmp_path / "loop.yaml"
    path.write_text(LOOP.format(policy=POLICY).replace("rate_hz: 200", "rate_hz: 1"))
    first = core.Stall(core.Stage.release, 0, 0, 900_000_000)
    run = Run(load(path), "idle", record=False, stalls={"balance": [first]})
    with run:
        run.observe()
        told = Status(active_status("node", run, "balance"))
        assert (told.level, told.message) == (WARN, "no cycle was executed yet")


def test_of_several_policies_it_names_the_one_that_acts(path: Path) -> None:
    from rtloop.nodes.diagnostics import active_status

    run = Run(load(path), "told", record=False)

    def values() -> dict[str, str]:
        run.observe()
        return Status(active_status("node", run, "robot")).values

    with run:
        assert (values()["policy"], values()["took_over"]) == ("stand", "n/a")
        run.loops["robot"].write_input("mode", [0.0, 1.0])
        wait_for(lambda: values()["policy"] == "walk", "the other policy")
        assert values()["took_over"].endswith(" s stand → walk")


def test_of_one_policy_it_names_none(tmp_path: Path) -> None:
    from rtloop.nodes.diagnostics import active_status

    (tmp_path / "loop.yaml").write_text(LOOP.format(policy=POLICY))
    with Run(load(tmp_path / "loop.yaml"), "told", record=False) as run:
        run.observe()
        assert "policy" not in Status(active_status("node", run, "balance")).values
