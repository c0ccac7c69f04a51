"""~/deadline_miss and ~/statistics of a run, over DDS: what is told is what is recorded."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtloop import core
from rtloop.config import load
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import topic
from rtloop.telemetry.observe.ring import Ring
from tests.nodes.ears import Ears, LifecycleNode, LifecyclePublisher, Parameter, QoSProfile, rclpy
from tests.nodes.ros import ERROR, TIMEOUT_S, WARN, Client, loop_node_here
from tests.running import POLICY, edited, wait_for
from tests.telemetry.conftest import ring_directory
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring

__all__ = ["ring_directory"]

NODE = "told"
MS = 1_000_000
PERIOD_MS = 20
CLASSES = ("hard", "firm", "soft")
LEVELS = {"hard": ERROR, "firm": WARN, "soft": WARN}
HEAD = "recording: {{directory: {directory}}}\nloops:\n"
#: Nobody feeds them, so that nothing but their stalls is late; but on a busy machine anything may be.
LOOP = """\
  {loop_class}:
    class: {loop_class}
    rate_hz: 50
    inputs:
      goal: {{mailbox: [0, 0, 0, 0]}}
    policy: {{model: {policy}, observation: [{{input: goal}}]}}
    outputs:
      force: {{mailbox: true, size: 1, safe: 0.0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{{shares}held: 1}}
"""


def write(folder: Path, *classes: str) -> Path:
    path = folder / "loops.yaml"
    shares = {"hard": "", "firm": "missed: 1, skipped: 1, ", "soft": "missed: 1, skipped: 1, "}
    loops = "".join(
        LOOP.format(loop_class=name, policy=POLICY, shares=shares[name]) for name in classes
    )
    path.write_text(HEAD.format(directory=folder / "runs") + loops)
    return path


def stall(first: int, every: int, ms: float = 1.5 * PERIOD_MS) -> core.Stall:
    return core.Stall(core.Stage.infer, first, every, int(ms * MS))


def run_of(folder: Path, stalls: Mapping[str, Sequence[core.Stall]], *, record: bool = True) -> Run:
    return Run(load(write(folder, *stalls)), "told", stalls=stalls, record=record)


@contextmanager
def news_alone(ears: Ears, **parameters: Any) -> Iterator[Any]:
    """By an ordinary node, of whatever rings it is given."""
    from rtloop.nodes.news import News

    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = rclpy.create_node(NODE, context=ears.context, parameter_overrides=overrides)
    news = News(node)
    try:
        yield news
    finally:
        news.detach()
        node.destroy_node()


@contextmanager
def news_of(run: Run, ears: Ears, **parameters: float) -> Iterator[Any]:
    """Of a run that is activated, by a node of its own, as loop_node has it."""
    from rtloop.nodes.news import News

    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = LifecycleNode(NODE, context=ears.context, parameter_overrides=overrides)
    news = News(node)
    try:
        with run:
            news.attach(run)
            yield news
            assert speaking(node) == (run.state == "active")
    finally:
        news.detach()
        node.destroy_node()


def speaking(node: Any) -> bool:
    """Whether its lifecycle publishers are active, of which none is another than all the others."""
    managed = [p for p in node.publishers if isinstance(p, LifecyclePublisher)]
    (are_active,) = {publisher.is_activated for publisher in managed}
    return bool(are_active)


def executed(run: Run, cycles: int) -> bool:
    return all(loop.status()["executed"] >= cycles for loop in run.loops.values())


def all_recorded(run: Run, news: Any, ears: Ears) -> dict[str, int]:
    """Ends the run; the misses of its recording by loop, once so many were told of."""
    run.deactivate()
    news.detach()
    messages = read_recording(run.recording).messages
    recorded = {loop: messages.get(topic(loop, "miss"), 0) for loop in run.loops}
    ears.until_told(recorded)
    return recorded


def test_misses_of_each_class_are_told_as_often_as_they_are_recorded(tmp_path: Path) -> None:
    stalls = {"hard": [stall(30, 0)], "firm": [stall(5, 10)], "soft": [stall(5, 10)]}
    run = run_of(tmp_path, stalls)
    with Ears(NODE, *CLASSES) as ears, news_of(run, ears) as news:
        ears.until(
            lambda: all(ears.misses.values()) and len(ears.misses["soft"]) >= 5, "misses are told"
        )
        recorded = all_recorded(run, news, ears)
        assert recorded["hard"] == 1
        for loop, n in recorded.items():
            newest = ears.statistics_of(loop, n)
            assert newest["misses_suppressed"] == sum(m["suppressed"] for m in ears.misses[loop])
            assert newest["records_lost"] == 0
            assert newest["executed"] == len(read_recording(run.recording).loops[loop].records)
    hard = ears.misses["hard"][0]
    assert (hard.level, hard.values["outcome"]) == (ERROR, "safe")
    assert ears.misses["firm"][0].values["outcome"] == "held"
    soft = ears.misses["soft"][0]
    assert (soft.level, soft.values["outcome"]) == (WARN, "written_late")
    assert soft.values["loop_class"] == "soft"
    assert "longest in 'infer': the command was sent after the deadline" in soft.message
    assert soft["tardiness_ns"] == soft["response_ns"] - PERIOD_MS * MS > 0
    assert soft.values["run_id"] == run.run_id
    delays_ns = [m.heard_ns - m.stamp_ns - m["tardiness_ns"] for m in ears.misses["soft"]]
    assert -10 * MS < min(delays_ns) < 50 * MS, "the stamp is when the deadline passed"


def test_loop_node_tells_misses_of_each_class_as_it_records_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = {"hard": [stall(30, 0)], "firm": [stall(5, 3)], "soft": [stall(5, 3)]}
    monkeypatch.setattr("rtloop.nodes.loop_node.Run", functools.partial(Run, stalls=stalls))
    config = str(write(tmp_path, *CLASSES))
    with (
        Ears("loop_node", *CLASSES) as ears,
        Client() as client,
        loop_node_here(client, config=config, record=True, statistics_rate_hz=5.0),
    ):
        for n in (1, 2):
            for loop in CLASSES:
                ears.misses[loop].clear()
                ears.statistics[loop].clear()
            assert client.request("configure")
            assert client.request("activate")
            ears.until(lambda: all(ears.misses.values()), "misses of each class")
            ears.until(lambda: all(ears.statistics.values()), "statistics")
            assert client.request("deactivate")
            assert client.request("cleanup")
            runs = sorted((tmp_path / "runs").iterdir())
            assert len(runs) == n
            messages = read_recording(runs[-1]).messages
            ears.until_told({loop: messages[topic(loop, "miss")] for loop in CLASSES})
            assert {loop: heard[0].level for loop, heard in ears.misses.items()} == LEVELS


def test_a_hard_cycle_that_was_judged_before_it_began_does_not_hang(tmp_path: Path) -> None:
    config = edited(write(tmp_path, "hard"), {"rate_hz: 50": "rate_hz: 50\n    deadline_ms: 0.02"})
    with (
        Ears("loop_node", "hard") as ears,
        Client() as client,
        loop_node_here(client, config=str(config)),
    ):
        assert client.request("configure")
        for _ in range(8):  # by then it has had no CPU in time, once
            ears.misses["hard"].clear()
            assert client.request("activate")
            ears.until(lambda: bool(ears.misses["hard"]), "its first cycle misses")
            assert client.request("deactivate")
            if "unfinished" in ears.misses["hard"][0].values["event_names"]:
                break


def test_a_storm_of_misses_is_limited_and_none_is_forgotten(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"soft": [stall(5, 1)]})
    with Ears(NODE, "soft") as ears, news_of(run, ears, deadline_miss_limit_hz=2.0) as news:
        wait_for(lambda: executed(run, 40), "a storm")
        (recorded,) = all_recorded(run, news, ears).values()
    assert recorded > 20
    assert len(ears.misses["soft"]) < recorded / 2


def test_a_subscriber_that_is_slow_knows_what_it_has_missed(ring_directory: Path) -> None:
    loop = metadata("soft", "soft")
    writer = new_ring(ring_directory, loop)
    with Ears(NODE, "soft", qos=QoSProfile(depth=2)) as ears, news_alone(ears) as news:
        news.follow("soft", Ring(Path(writer.path)))
        ears.until_met()
        for n in range(1, 1000):  # the first ones may come before it is known to the node
            append(writer, batch_of(cycles(1, first=n, miss_every=1), loop))
            ears.for_a_while(0.1)
            if ears.misses["soft"]:
                break
        before = news.followed["soft"].misses
        append(writer, batch_of(cycles(15, first=1000, miss_every=1), loop))
        wait_for(lambda: news.followed["soft"].misses == before + 15, "more while it is busy")
        news.detach()
        ears.until(lambda: ears.misses["soft"][-1]["number"] == before + 15, "the newest")
        heard = [miss["number"] for miss in ears.misses["soft"] if miss["number"] > before]
    assert len(heard) <= 2, "there is no room for more"


def test_a_miss_is_told_at_the_next_look_and_looks_are_often(
    ring_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtloop.nodes.news import LOOK_S

    loop = metadata("soft", "soft")
    writer = new_ring(ring_directory, loop)
    told: list[Any] = []
    with Ears(NODE, "soft") as ears, news_alone(ears) as news, news.lock:  # no look but these
        monkeypatch.setattr(news._misses, "publish", told.append)
        news.follow("soft", Ring(Path(writer.path)))
        for n in range(1, 10):
            append(writer, batch_of(cycles(1, first=n, miss_every=1), loop))
            news.tick()
            assert len(told) == n
    assert 2 * LOOK_S < 0.05, "one of them begins and ends within 50 ms of a cycle's end"


def test_an_executor_that_stands_still_delays_no_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = {"soft": [stall(5, 3)]}
    monkeypatch.setattr("rtloop.nodes.loop_node.Run", functools.partial(Run, stalls=stalls))
    stands, goes_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        stands.set()
        goes_on.wait(TIMEOUT_S)

    with (
        Ears("loop_node", "soft") as ears,
        Client() as client,
        loop_node_here(client, config=str(write(tmp_path, "soft"))) as (_, executor),
    ):
        assert client.request("configure")
        assert client.request("activate")
        executor.create_task(stand_still)
        try:
            assert stands.wait(TIMEOUT_S)
            ears.until(lambda: bool(ears.misses["soft"]), "it is met")
            before = len(ears.misses["soft"])
            ears.until(lambda: len(ears.misses["soft"]) >= before + 5, "misses all the same")
            assert not goes_on.is_set()
        finally:
            goes_on.set()
        assert client.request("deactivate")


def test_a_run_is_followed_in_each_of_its_activations(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"soft": [stall(3, 5)]})
    with Ears(NODE, "soft") as ears, news_of(run, ears) as news:
        ears.until(lambda: len(ears.misses["soft"]) >= 2, "misses")
        all_recorded(run, news, ears)
        first, ears.misses["soft"] = ears.misses["soft"], []
        run.activate()
        assert news.followed == {}
        news.attach(run)
        ears.until(lambda: bool(ears.misses["soft"]), "misses of the other")
        all_recorded(run, news, ears)
    assert first[0].values["run_id"] != ears.misses["soft"][0].values["run_id"]


def test_a_hard_cycle_that_hangs_is_told_before_it_returns(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"hard": [stall(10, 0, ms=1500)]})
    with Ears(NODE, "hard") as ears, news_of(run, ears) as news:
        ears.until(lambda: bool(ears.misses["hard"]), "the hang")
        (miss,) = ears.misses["hard"]
        assert miss.message.endswith(
            "missed its hard deadline, and has not come back: "
            "the safe command was sent instead: to a device, STOP"
        )
        assert miss.heard_ns - miss.stamp_ns < 1400 * MS
        wait_for(lambda: executed(run, 11), "it returns after all")
        assert all_recorded(run, news, ears) == {"hard": 1}


def test_what_was_overwritten_before_it_was_read_is_told(
    ring_directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loop = metadata("soft", "soft")
    writer = new_ring(ring_directory, loop, capacity=64)
    with Ears(NODE, "soft") as ears, news_alone(ears) as news:
        with news.lock:  # nobody looks
            news.follow("soft", Ring(Path(writer.path)))
            append(writer, batch_of(cycles(10, miss_every=10), loop))
            news.tick()
            append(writer, batch_of(cycles(200, first=10, miss_every=100), loop))
        ears.until(lambda: len(ears.misses["soft"]) == 2, "what is left of them")
        news.detach()
        ears.until(lambda: bool(ears.statistics["soft"]), "statistics")
    lost = ears.misses["soft"][-1]["records_lost"]
    assert 130 < lost < 200
    assert [miss["number"] for miss in ears.misses["soft"]] == [1, 2], "of those that were seen"
    newest = ears.statistics["soft"][-1]
    assert (newest["records_lost"], newest["executed"]) == (lost, 210)
    assert f"soft: {lost} cycles were overwritten before" in capfd.readouterr().err


def test_simulated_time_is_that_of_the_message(ring_directory: Path) -> None:
    loop = metadata("soft", "soft")
    writer = new_ring(ring_directory, loop)
    append(writer, batch_of(cycles(10, miss_every=10), loop))
    with Ears(NODE, "soft") as ears, news_alone(ears, use_sim_time=True) as news:
        news.follow("soft", Ring(Path(writer.path)))
        ears.until(lambda: bool(ears.misses["soft"]), "the miss")
    assert ears.misses["soft"][0].stamp_ns == 0, "nobody publishes /clock"


def test_a_ring_that_cannot_be_read_ends_its_news_and_no_others(
    ring_directory: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = metadata("one", "soft"), metadata("other", "soft")
    writers = [new_ring(ring_directory, loop) for loop in (one, other)]
    with Ears(NODE, "one", "other") as ears, news_alone(ears) as news:
        for writer in writers:
            news.follow(Path(writer.path).stem, Ring(Path(writer.path)))
        broken = news.followed["one"].ring
        monkeypatch.setattr(broken, "read", lambda *_: 1 / 0)
        append(writers[1], batch_of(cycles(10, miss_every=10), other))
        ears.until(lambda: bool(ears.misses["other"]), "the other's")
        assert set(news.followed) == {"other"}
    assert "one: no more news of it" in capfd.readouterr().err
