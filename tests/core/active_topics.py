"""A program for tests that look at a process from outside: a loop between two topics of fake_rcl.

Prints the loop threads' ids, runs for the seconds given, and prints what became of it as JSON.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
import time

from rtloop import core
from tests.core.active_loop import thread_id
from tests.core.conftest import MS, identity_graph
from tests.core.topic_scenarios import SAFE, Middleware, make_input, make_output


def main(seconds: float, folder: str) -> None:
    far = Middleware(folder)
    config = core.LoopConfig()
    config.name = "probe"
    config.loop_class = core.LoopClass.soft
    config.period_ns = config.deadline_ns = 2 * MS
    config.inputs = [core.InputConfig(0, 500 * MS, core.OnStale.use)]
    config.outputs = [core.OutputConfig(1, safe=[SAFE])]
    ports: list[core.Port] = [make_input(), make_output(2 * MS)]
    ring = core.RingWriter(f"{folder}/ring", 1 << 14, 1, 1, 1, b"{}")
    loop = core.Loop(config, ports, identity_graph(1), ring, core.MonotonicClock())
    threads = core.LoopThreads(loop)
    setup, guard = core.ThreadSetup(), core.ThreadSetup()
    setup.name, guard.name = "rt:probe", "rtg:probe"
    stop = threading.Event()

    def feed() -> None:
        number = 0
        while not stop.wait(0.003):
            number += 1
            # Now and then one that cannot be read, and is told of.
            far.push(number, 0.5, raw=b"\0\1\0\0" if number % 50 == 0 else None)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert not threads.set_up(setup, guard, 200).error
    loop.rearm()
    while loop.missing_input() is not None:
        time.sleep(0.01)
    core.activate([threads])
    print(json.dumps([thread_id("rt:probe"), thread_id("rtg:probe")]), flush=True)
    time.sleep(seconds)
    threads.deactivate(1_000_000_000)
    stop.set()
    feeder.join()
    result = loop.status()
    result["taken"] = ports[0].counters()["messages"]
    result["published"] = ports[1].counters()["published"]
    preloaded = ctypes.CDLL(None)
    if hasattr(preloaded, "probe_allocations"):
        for name in ("self_test", "allocations", "runs", "threads"):
            result[name] = getattr(preloaded, f"probe_{name}")()
    print(json.dumps(result))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
