"""What /diagnostics says of a loop while it runs, without a node around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rtloop import core
from rtloop.config import load
from rtloop.run import Run
from rtloop.telemetry.live.followed import Followed
from rtloop.telemetry.observe.ring import Ring
from tests.nodes.ros import ERROR, OK, WARN, Status
from tests.policy.callable.files import loop_file, module
from tests.running import POLICY, ROOT, wait_for
from tests.telemetry.conftest import ring_directory
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring
from tests.test_switch import path

__all__ = ["path", "ring_directory"]

S = 1_000_000_000

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


def loop_status(run: Run, name: str) -> Status:
    """What is said of a loop at the first look."""
    from rtloop.nodes.diagnostics import LoopDiagnostics
    from rtloop.nodes.status import Threshold

    thresholds = dict.fromkeys(("misses", "skipped", "stale"), Threshold())
    return Status(LoopDiagnostics("/node", run, name).statuses(thresholds)[0])


def test_a_loop_that_acts_on_nothing_new_is_an_error_while_it_runs(tmp_path: Path) -> None:
    from rtloop.nodes.diagnostics import inactive_status

    path = tmp_path / "loop.yaml"
    path.write_text(LOOP.format(policy=POLICY))
    run = Run(load(path), "told", record=False)

    def told() -> Status:
        run.observe()
        return loop_status(run, "balance")

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
        ended = Status(inactive_status("/node", run, "balance"))
    assert ended.values["failures"].startswith("stale ")


def test_a_loop_that_has_not_run_yet_has_met_nothing(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP.format(policy=POLICY).replace("rate_hz: 200", "rate_hz: 1"))
    first = core.Stall(core.Stage.release, 0, 0, 900_000_000)
    run = Run(load(path), "idle", record=False, stalls={"balance": [first]})
    with run:
        run.observe()
        told = loop_status(run, "balance")
        assert (told.level, told.message) == (WARN, "no cycle was executed yet")


def test_of_several_policies_it_names_the_one_that_acts(path: Path) -> None:
    run = Run(load(path), "told", record=False)

    def values() -> dict[str, str]:
        run.observe()
        return loop_status(run, "robot").values

    with run:
        assert (values()["policy"], values()["took_over"]) == ("stand", "n/a")
        run.loops["robot"].write_input("mode", [0.0, 1.0])
        wait_for(lambda: values()["policy"] == "walk", "the other policy")
        assert values()["took_over"].endswith(" s stand → walk")


def test_of_one_policy_it_names_none(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(LOOP.format(policy=POLICY))
    with Run(load(tmp_path / "loop.yaml"), "told", record=False) as run:
        run.observe()
        assert "policy" not in loop_status(run, "balance").values


def test_the_answers_of_a_python_function_are_told_of_as_an_input_is(tmp_path: Path) -> None:
    from rtloop.nodes.diagnostics import LoopDiagnostics
    from rtloop.nodes.status import Threshold

    policy = f"python: {module(tmp_path, 'def act(seen): return seen[:1] * 3')}:act"
    config = load(loop_file(tmp_path, policy, loop_class="soft"))
    with Run(config, "told", record=False) as run:
        run.loops["pole"].write_input("angle", [1, 0])
        wait_for(lambda: run.loops["pole"].read_output("push")[0][0] == 6.0, "an answer")
        run.observe()
        thresholds = dict.fromkeys(("misses", "skipped", "stale"), Threshold(1.0))
        statuses = LoopDiagnostics("/node", run, "pole").statuses(thresholds)
    names = [status.name for status in statuses]
    assert names == ["/node: pole", "/node: pole.angle", "/node: pole.answer"]
    assert Status(statuses[2]).values["rate_hz"] != "n/a"


def looks(run: Run, **thresholds: tuple[float, float]) -> Callable[[], list[Status]]:
    """A look at the loop and its input, each of the time since the one before."""
    from rtloop.nodes.diagnostics import LoopDiagnostics
    from rtloop.nodes.status import Threshold

    every: dict[str, tuple[float, float]] = dict.fromkeys(
        ("misses", "skipped", "stale"), (0.0, 1.0)
    )
    given = {name: Threshold(*pair) for name, pair in {**every, **thresholds}.items()}
    diagnostics = LoopDiagnostics("/node", run, "balance")

    def look() -> list[Status]:
        run.observe()
        return [Status(status) for status in diagnostics.statuses(given)]

    return look


TOLERANT = LOOP.replace("max_share: {{missed: 1,", "max_share: {{stale: 1, held: 1, missed: 1,")


def executed(run: Run, n: int) -> None:
    """Waits for so many more cycles."""
    end = run.loops["balance"].status()["executed"] + n
    wait_for(lambda: run.loops["balance"].status()["executed"] >= end, "the cycles")


def test_without_fresh_input_a_loop_is_not_ok_and_afterwards_it_is(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(TOLERANT.format(policy=POLICY).replace("1000", "50"))
    config = load(tmp_path / "loop.yaml")
    with Run(config, "told", record=False) as run:
        wait_for(lambda: run.loops["balance"].status()["executed"] > 30, "stale cycles")
        look, strict = looks(run), looks(run, stale=(0.0, 0.01))
        loop, source = look()
        assert loop.level == source.level == WARN
        assert "cycles without fresh input" in loop.message
        assert source.message.startswith("stale in ")
        assert float(source.values["age_max_ms"]) > 50

        run.loops["balance"].write_input("cart", [0.0, 0.0, 0.0, 0.0])
        executed(run, 3)
        look()  # the stale ones until then
        run.loops["balance"].write_input("cart", [0.0, 0.0, 0.0, 0.0])
        executed(run, 3)
        loop, source = look()
        assert (source.level, source["stale"]) == (OK, 0)
        assert "without fresh input" not in loop.message
        assert float(source.values["age_ms"]) < 50
        assert strict()[0].level == ERROR, "more than 1 % of all of it"


def test_skipped_releases_are_told_of_once_and_by_their_threshold(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text(TOLERANT.format(policy=POLICY))
    held_up = core.Stall(core.Stage.infer, 20, 0, 50_000_000)
    run = Run(load(tmp_path / "loop.yaml"), "late", record=False, stalls={"balance": [held_up]})
    with run:
        look, lenient = looks(run), looks(run, skipped=(1.0, 1.0), misses=(1.0, 1.0))
        executed(run, 25)
        loop, _ = look()
        assert loop.level == WARN
        assert "releases skipped" in loop.message
        assert loop["skipped"] > 0
        # Whatever a busy machine skips on its own does not count.
        assert "skipped" not in lenient()[0].message
        executed(run, 1)
        again, _ = look()
        assert f"{loop['skipped']} releases skipped" not in again.message


def test_a_broken_limit_is_an_error(tmp_path: Path) -> None:
    text = TOLERANT.format(policy=POLICY)
    text = text.replace(
        "    max_share:", "    limit: {max_misses: 1, window: 100, on_broken: warn}\n    max_share:"
    )
    (tmp_path / "loop.yaml").write_text(text)
    late = core.Stall(core.Stage.infer, 20, 1, 7_000_000)
    run = Run(load(tmp_path / "loop.yaml"), "late", record=False, stalls={"balance": [late]})
    with run:
        look = looks(run)
        executed(run, 40)
        loop, _ = look()
    assert loop.level == ERROR
    assert loop.message.startswith("the limit of lost jobs was broken")


def test_the_aggregator_file_matches_the_names_that_are_published(tmp_path: Path) -> None:
    from rtloop.nodes.diagnostics import LoopDiagnostics, inactive_status, lifecycle_status
    from rtloop.nodes.loop_node import NODE_NAME
    from rtloop.nodes.states import Unconfigured
    from rtloop.nodes.status import Threshold

    file = yaml.safe_load((ROOT / "launch" / "diagnostics_aggregator.yaml").read_text())
    analyzer = file["/**"]["ros__parameters"][NODE_NAME]
    (prefix,) = analyzer["find_and_remove_prefix"]
    fqn = f"/{NODE_NAME}"
    (tmp_path / "loop.yaml").write_text(LOOP.format(policy=POLICY))
    thresholds = dict.fromkeys(("misses", "skipped", "stale"), Threshold())
    with Run(load(tmp_path / "loop.yaml"), "told", record=False) as run:
        run.observe()
        published = LoopDiagnostics(fqn, run, "balance").statuses(thresholds)
        published += [inactive_status(fqn, run, "balance"), lifecycle_status(fqn, Unconfigured())]
    names = [status.name for status in published]
    assert all(name.startswith(prefix) for name in names)
    told = {name.removeprefix(prefix) for name in names}
    assert told == {"lifecycle", "balance", "balance.cart"}


@pytest.mark.parametrize(
    ("period_s", "in_lock_step", "state", "told"),
    [
        (1, False, "active", "no cycle for 1"),
        (1, True, "active", "every deadline met"),
        (1, False, "inactive", "every deadline met"),
        (3600, False, "active", "every deadline met"),
    ],
)
def test_a_loop_of_another_process_that_stands_still_is_not_ok(
    ring_directory: Path, period_s: int, in_lock_step: bool, state: str, told: str
) -> None:
    from rtloop.nodes.diagnostics import FollowedDiagnostics

    loop = metadata(period_ns=period_s * S)
    loop = replace(loop, realtime_ns_offset=0) if in_lock_step else loop
    ring = new_ring(ring_directory, loop)
    records = cycles(1, period_ns=period_s * S)
    ago_ns = time.monotonic_ns() - 10 * S - int(records["start_ns"][-1])
    for name in ("release_ns", "start_ns", "read_ns", "infer_ns", "finish_ns", "deadline_ns"):
        records[name] += ago_ns
    append(ring, batch_of(records, loop))
    ring.set_state(state)
    followed = Followed(Ring(Path(ring.path)), 1.0)
    followed.look()
    found = Status(FollowedDiagnostics("/node: balance", followed).statuses()[0])
    assert found.message.startswith(told)
    assert found.level == (WARN if told.startswith("no cycle") else OK)


def test_an_input_that_no_cycle_has_read_is_not_fresh(ring_directory: Path) -> None:
    from rtloop.nodes.diagnostics import FollowedDiagnostics

    ring = new_ring(ring_directory, metadata())
    batch = batch_of(cycles(5), metadata())
    batch.sources["age_ns"], batch.sources["gap"], batch.sources["events"] = 1000, 0, 0
    append(ring, batch)
    followed = Followed(Ring(Path(ring.path)), 1.0)
    diagnostics = FollowedDiagnostics("/node: balance", followed)

    def told() -> list[str]:
        followed.look()
        return [Status(status).message for status in diagnostics.statuses()[1:]]

    assert told() == ["fresh", "fresh"]
    assert told() == ["no cycle has read it since"] * 2
