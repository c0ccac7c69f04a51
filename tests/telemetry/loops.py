"""Made-up loops for the telemetry tests: metadata, cycles of every kind, rings that hold them."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.ports.signal import Signal
from rtloop.telemetry.observe.records import (
    EVENT_BITS,
    INPUT_RECORD_DTYPE,
    PORT_EVENT_DTYPE,
    InputRecords,
    PortEvents,
    Records,
    empty_records,
)
from rtloop.telemetry.observe.ring import Batch, LoopMetadata

PERIOD_NS = 1_000_000
REALTIME_NS_OFFSET = 1_700_000_000_000_000_000


def metadata(
    loop: str = "balance",
    loop_class: str = "firm",
    *,
    run_id: str = "20260101T000000-test",
    n_inputs: int = 3,
    n_outputs: int = 2,
    period_ns: int = PERIOD_NS,
    deadline_ns: int | None = None,
) -> LoopMetadata:
    return LoopMetadata(
        run_id=run_id,
        loop=loop,
        loop_class=loop_class,
        period_ns=period_ns,
        deadline_ns=period_ns if deadline_ns is None else deadline_ns,
        inputs=tuple(Signal(f"cart.angle_{i}", "rad/s") for i in range(n_inputs)),
        outputs=tuple(Signal(f"cart.force_{i}", "N") for i in range(n_outputs)),
        sources=("cart", "imu"),
        realtime_ns_offset=REALTIME_NS_OFFSET,
        run={
            "kernel": "Linux 6.18",
            "preempt_rt": False,
            "config_text": "loops: {balance: {}}",
            "rights": [],
            "versions": {"rtloop": "0.1.0"},
            "policy_sha256": f"{loop}-sha",
            "models_sha256": {"encoder": "e-sha", "policy": f"{loop}-sha"},
        },
        ports=("cart", "imu"),
    )


def cycles(
    n: int,
    *,
    first: int = 0,
    loop_class: str = "firm",
    miss_every: int = 0,
    skip_after_miss: bool = False,
    period_ns: int = PERIOD_NS,
    deadline_ns: int | None = None,
    seed: int = 0,
) -> Records:
    """``n`` plausible cycles; every ``miss_every``-th is late by inference."""
    random = np.random.default_rng(seed + first)
    deadline_ns = period_ns if deadline_ns is None else deadline_ns
    records = empty_records(n)
    late = np.zeros(n, bool)
    if miss_every:
        late[miss_every - 1 :: miss_every] = True
    k = first + np.arange(n)
    if skip_after_miss:
        skipped = np.zeros(n, np.int64)
        skipped[1:][late[:-1]] = 1
        records["skipped"] = skipped
        k = k + np.cumsum(skipped)
    records["cycle"] = k
    records["release_ns"] = 5_000_000_000 + k * period_ns
    latency = (9_000 + random.gamma(2.0, 2_000, n)).astype(np.int64)
    records["start_ns"] = records["release_ns"] + latency
    records["read_ns"] = records["start_ns"] + random.integers(1_000, 3_000, n)
    infer = (30_000 + random.gamma(3.0, 4_000, n)).astype(np.int64)
    infer[late] = deadline_ns + random.integers(10_000, 400_000, int(late.sum()))
    records["infer_ns"] = records["read_ns"] + infer
    records["finish_ns"] = records["infer_ns"] + random.integers(4_000, 9_000, n)
    records["deadline_ns"] = records["release_ns"] + deadline_ns
    records["loop_class"] = core.CLASSES[loop_class]
    on_time = core.OUTCOMES["written"]
    on_miss = core.OUTCOMES[{"hard": "safe", "firm": "held", "soft": "written_late"}[loop_class]]
    records["outcome"] = np.where(late, on_miss, on_time)
    records["longest_stage"] = np.where(late, core.STAGES["infer"], core.STAGES["none"])
    records["events"] = np.where(late, EVENT_BITS["miss"], 0)
    records["consecutive_misses"] = late
    return records


def port_events(n: int, *, first: int = 0, port: int = 0) -> PortEvents:
    """``n`` events of a device, a tenth of a second apart: clock estimates, and every fifth a command
    that was refused as late, of which the device counts two for each that it tells of."""
    number = first + np.arange(n)
    late = number % 5 == 4
    events: PortEvents = np.zeros(n, PORT_EVENT_DTYPE)
    events["number"] = number
    events["time_ns"] = 5_000_000_000 + number * 100_000_000
    events["port"] = port
    events["kind"] = np.where(late, core.PORT_EVENTS["late_command"], core.PORT_EVENTS["clock"])
    events["clock_offset_ns"] = np.where(late, 0, -77_000_000_000 + number)
    events["clock_error_ns"] = np.where(late, 0, 1_000_000 // (1 + number))
    events["clock_skew_ppb"] = np.where(late, 0, 1500)
    events["lateness_us"] = np.where(late, 100 + number, 0)
    events["total"] = np.where(late, 2 * (number // 5 + 1), 0)
    events["loop_class"] = np.where(late, core.CLASSES["firm"], 0)
    events["device_event"] = np.where(late, events["kind"], 0)
    events["device_state"] = core.DEVICE_STATES["ACTIVE"]
    return events


def append_events(ring: core.RingWriter, events: PortEvents) -> None:
    for event in np.ascontiguousarray(events):
        ring.append_event(event.tobytes())


def vectors(n: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def batch_of(records: Records, loop: LoopMetadata, lost: int = 0) -> Batch:
    n = len(records)
    inputs, outputs = vectors(n, len(loop.inputs), 1), vectors(n, len(loop.outputs), 2)
    return Batch(records, sources(n, len(loop.sources)), inputs, outputs, lost)


def sources(n: int, width: int) -> InputRecords:
    random = np.random.default_rng(3)
    found = np.zeros((n, width), INPUT_RECORD_DTYPE)
    found["age_ns"] = random.integers(-1, 1_000_000, (n, width))
    found["gap"] = random.integers(0, 3, (n, width))
    found["events"] = random.choice([0, EVENT_BITS["stale_input"]], (n, width))
    return found


def new_ring(directory: Path, loop: LoopMetadata, capacity: int = 1024) -> core.RingWriter:
    """The ring's state is finalized when the writer is dropped."""
    directory.mkdir(parents=True, exist_ok=True)
    ring = core.RingWriter(
        str(directory / f"{loop.loop}.ring"),
        capacity,
        len(loop.sources),
        len(loop.inputs),
        len(loop.outputs),
        loop.to_json().encode(),
    )
    ring.set_state("active")
    return ring


def append(ring: core.RingWriter, batch: Batch) -> None:
    records = np.ascontiguousarray(batch.records)
    for i in range(len(batch)):
        ring.append(
            records[i].tobytes()
            + batch.sources[i].tobytes()
            + batch.inputs[i].tobytes()
            + batch.outputs[i].tobytes()
        )


_WRITER = """
    import sys, time
    from pathlib import Path
    from rtloop.telemetry.observe.ring import Batch
    from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring
    directory, loop_name, n, capacity, per_second, first_wait = sys.argv[1:]
    loop = metadata(loop_name)
    ring = new_ring(Path(directory), loop, int(capacity))
    print("READY", flush=True)
    if first_wait == "wait":
        sys.stdin.readline()
    n = int(n)
    batch = batch_of(cycles(n, miss_every=7), loop)
    burst = max(1, int(per_second) // 50)
    for at in range(0, n, burst):
        here = slice(at, at + burst)
        append(ring, Batch(batch.records[here], batch.sources[here], batch.inputs[here], batch.outputs[here]))
        if at + burst < n:
            time.sleep(0.02)
    print("WRITTEN", flush=True)
    time.sleep(600)
"""


class WriterProcess:
    """A process that writes a ring as a loop would, and then does nothing until it is ended."""

    def __init__(
        self,
        directory: Path,
        loop: str = "balance",
        *,
        n: int,
        capacity: int = 4096,
        per_second: int = 5000,
        wait: bool = False,
    ) -> None:
        arguments = [directory, loop, n, capacity, per_second, "wait" if wait else "go"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_WRITER), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        self.ring = directory / f"{loop}.ring"
        self._expect(b"READY")

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def wait_written(self) -> None:
        self._expect(b"WRITTEN")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "WriterProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _expect(self, word: bytes) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip() == word, f"the writer said {line!r}"
