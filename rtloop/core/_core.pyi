"""What the C++ core offers to Python. Times are int nanoseconds of CLOCK_MONOTONIC unless said otherwise."""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# --- records and rings ---

#: (name, numpy format, byte offset) of each field of a cycle record.
RECORD_FIELDS: list[tuple[str, str, int]]
#: Bytes of a cycle record; an input record per input and the float32 input and output vectors follow it.
RECORD_SIZE: int
#: The same of what a record says of each input: age_ns, gap, events.
INPUT_RECORD_FIELDS: list[tuple[str, str, int]]
INPUT_RECORD_SIZE: int

#: The same of a port event, see ``rtloop/core/ports/port_event.hpp``.
PORT_EVENT_FIELDS: list[tuple[str, str, int]]
PORT_EVENT_SIZE: int

#: The rows of words.def: table, word, number, sentence, remedy.
WORD_ROWS: list[tuple[str, str, int, str, str]]

class RingWriter:
    """Creates a ring file and faults all of it in. Raises OSError, ValueError (capacity < 2).

    Dropping it marks the ring ``finalized``. Loops append by themselves; ``append`` and the setters are for
    tests of readers.
    """

    def __init__(
        self,
        path: str,
        capacity: int,
        n_sources: int,
        n_inputs: int,
        n_outputs: int,
        metadata: bytes,
        event_capacity: int = 4096,
    ) -> None:
        """``n_sources`` inputs, of ``n_inputs`` values together."""
    def set_metadata(self, metadata: bytes) -> None:
        """Replaces the metadata; it may grow by 64 KiB. Raises ValueError."""
    def append(self, payload: bytes) -> None: ...
    def append_event(self, event: bytes) -> None: ...
    def set_state(self, state: str) -> None: ...
    def set_expired(self, cycle: int, deadline_ns: int, outcome: int = 0) -> None: ...
    def set_counts(self, elapsed_periods: int, executed: int, skipped: int) -> None: ...
    def status(self) -> dict[str, Any]: ...
    @property
    def path(self) -> str: ...

class SlotReader:
    """A cursor of its own over what a ring holds of one kind, oldest first."""

    def read(self, most: int) -> tuple[NDArray[np.uint8], int]:
        """Up to ``most`` payloads, uint8 [n, payload bytes], oldest first, and how many were lost."""
    def seek(self, position: int) -> None: ...
    def sequences(self) -> NDArray[np.uint8]:
        """The word of every slot, uint8 [capacity, 8], little-endian: 2n + 2 once it holds payload n."""
    def end_at(self, end: int) -> None:
        """From now on reads what comes before ``end``, whatever the status says of it."""
    @property
    def position(self) -> int:
        """Payloads consumed or lost so far."""
    @property
    def available(self) -> int: ...

class RingReader(SlotReader):
    """Reads a ring, of a live writer or a dead one. Raises OSError, ValueError (not a ring, or cut).

    What it reads itself are cycles.
    """

    def __init__(self, path: str, of_anybody: bool = False) -> None:
        """Of the caller's own, unless ``of_anybody``: OSError for another user's file, and for a link."""
    @property
    def events(self) -> SlotReader:
        """Port events; none in a ring of versions 1 to 3."""
    def status(self) -> dict[str, Any]:
        """Live: state, fault_reason, fault_errno, fault_port (index of a port), head, elapsed_periods, …"""
    @property
    def metadata(self) -> bytes: ...
    @property
    def record_size(self) -> int: ...
    @property
    def n_sources(self) -> int:
        """Inputs with a record of their own; 0 in a ring of version 1."""
    @property
    def n_inputs(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def writer_pid(self) -> int: ...
    @property
    def writer_start_time(self) -> int:
        """Clock ticks since boot (field 22 of /proc/PID/stat): tells the writer from a later process."""

# --- the wire format (firmware/lib) ---

def packet_encode(
    type: int, seq: int, ack: int, schema_id: int, time_us: int, payload: bytes, flags: int = 0
) -> bytes:
    """One packet. Raises ValueError when the payload is too long."""

def packet_decode(packet: bytes) -> tuple[int, int, int, int, int, int, bytes]:
    """(type, flags, seq, ack, schema_id, time_us, payload). Raises ValueError with the reason."""

def frame_encode(packet: bytes) -> bytes:
    """COBS and the delimiter. Raises ValueError for an empty or too long packet."""

class FrameDecoder:
    """Takes frames out of a byte stream, in step again at the next delimiter whatever happened."""

    def __init__(self) -> None: ...
    def feed(self, data: bytes) -> list[bytes]: ...
    @property
    def errors(self) -> int: ...

PROTOCOL_VERSION: int
#: Most values that a sample or a command of a link carries.
LINK_VALUES_MAX: int
MESSAGE_TYPES: dict[str, int]
HISTOGRAM_KINDS: dict[str, int]
#: The smallest duration of each bucket of a device's histogram; the last has no end.
HISTOGRAM_EDGES_US: tuple[int, ...]
#: A HELLO_REPLY with this flag is of a device that answers STATS_REQUEST.
FLAG_ACCOUNTS: int
#: The class in STATS of a device that accounts for no loop.
CLASS_NONE: int
DEVICE_STATES: dict[str, int]
#: Bits of a device's ``reasons`` for being SAFE.
DEVICE_REASONS: dict[str, int]

def schema_id(text: bytes) -> int: ...
def message_decode(type: int, payload: bytes) -> dict[str, Any]:
    """The fields of any message, by their names in messages.h; ``values``, ``counts`` and ``bytes`` as sent.

    Raises ValueError for an unknown type, and for a payload that is not of that message.
    """

# What a host asks in the handshake.
def hello_encode(min_version: int, max_version: int) -> bytes: ...
def schema_request_encode(offset: int) -> bytes: ...
def time_request_encode(host_ns: int) -> bytes: ...
def stop_encode(reasons: int) -> bytes: ...
def histogram_request_encode(kind: int) -> bytes: ...
def arm_encode(loop_class: int, max_late_commands: int, command_timeout_us: int) -> bytes: ...
def command_encode(valid_until_us: int, values: Sequence[float]) -> bytes:
    """``valid_until_us`` in device time. Raises ValueError for more than LINK_VALUES_MAX values."""

# --- ports ---

class Port:
    """One transport, both of its directions and its own poll: see core/ports/port.hpp.

    ``kind`` is the name in the RTLOOP_PORT_KIND of its file, ``options`` what that file asks for, ``library`` a
    shared library that holds a kind from outside. Raises ValueError (no such kind, wrong options), OSError,
    RuntimeError (the library cannot be loaded).
    """

    def __init__(
        self,
        kind: str,
        options: Mapping[str, int | float | str | Sequence[float]],
        library: str = "",
    ) -> None: ...
    @property
    def n_inputs(self) -> int:
        """Values of a sample; 0: it has none."""
    @property
    def n_outputs(self) -> int:
        """Values of a command; 0: it takes none."""
    @property
    def paces(self) -> bool:
        """Whether a loop may be released by its samples."""
    def await_sample(self, until_ns: int) -> int:
        """Of a port that paces, and the cycle's alone: the time of a sample that came since it was asked last.

        -1 where none comes until ``until_ns`` (CLOCK_MONOTONIC).
        """
    def put(self, values: NDArray[np.float32], time_ns: int = -1) -> None:
        """Leaves a sample, float32 [n_inputs], taken at ``time_ns`` (default: now). For a mailbox.

        One thread at a time. Raises ValueError (wrong size, or not that kind of port), TypeError.
        """
    def newest(self) -> tuple[NDArray[np.float32], int]:
        """The command in force, float32 [n_outputs], and when it was written (-1: never). For a mailbox.

        One thread at a time. Raises ValueError (not that kind of port).
        """
    def account(self) -> bytes:
        """What its device accounted for itself, as it said last: the payload of a STATS message; empty when it
        has not. One thread at a time.
        """
    def write_safe(self) -> None: ...
    @property
    def is_lost(self) -> bool:
        """Its device is gone, the cycle goes on without it, and nobody has opened it anew yet."""
    @property
    def loss_error(self) -> int:
        """The errno of that loss; 0 where it is not lost."""
    def let_go(self) -> None:
        """While ``is_lost``: lets go of what is held of the old device. Raises OSError."""
    def reconnect(self, options: Mapping[str, int]) -> None:
        """While ``is_lost``: hands the transport over that was opened anew; the next poll takes it.

        Raises OSError, ValueError.
        """
    def give_up(self, reason: int) -> None:
        """While ``is_lost``: it will not come back. ``reason`` (``FAULT_REASONS``) ends the loop."""
    def counters(self) -> dict[str, int]:
        """What an observer may know, by name; the names are the kind's."""

class TopicInput(Port):
    """Numbers of the newest message of a subscription, taken by a thread: see core/ports/topic_input.hpp.

    ``handle`` is rclpy's, of which nobody else takes; ``stamp``: a sample's time is that of its header;
    ``keeps``: what came before an activation counts in it. Raises RuntimeError without rclpy, or with a
    middleware that does not tell of new messages.
    """

    def __init__(self, handle: object, reader: CdrReader, stamp: bool, keeps: bool) -> None: ...
    @property
    def refused(self) -> str:
        """Why the newest message that was not used could not be; empty where there was none."""
    def schedule(self, setup: ThreadSetup) -> list[Right]:
        """Of its thread: what became of each attribute."""
    def close(self) -> bool:
        """Ends the thread. False: it does not end, and ``handle`` must stay."""

class TopicOutput(Port):
    """Commands that a thread publishes: see core/ports/topic_output.hpp. ``safe`` has NaN where it is not known
    yet. Raises RuntimeError without rclpy, ValueError."""

    def __init__(
        self, handle: object, writer: CdrWriter, safe: Sequence[float], period_ns: int
    ) -> None: ...
    def safe_was_sent(self, timeout_ns: int) -> bool:
        """Waits until the safe command that is in force was published as often as it is; whether it left."""
    def schedule(self, setup: ThreadSetup) -> list[Right]:
        """Of its thread: what became of each attribute."""
    def close(self) -> bool:
        """Ends the thread. False: it does not end, and ``handle`` must stay."""

class Relay:
    """The commands of one output, for the loops that read it: see core/ports/relay.hpp.

    ``size`` values a command, ``capacity`` commands; ``at_deadline``: each counts from its deadline on, not
    from when it was written. Raises ValueError.
    """

    def __init__(self, size: int, capacity: int, at_deadline: bool) -> None: ...
    def reader(self) -> Port:
        """A port for one more loop that reads them."""

class ZmqBridge:
    """One connection of libzmq, and a descriptor beside it that keeps packets apart: each read and each write
    of it is one. A thread without the interpreter moves them. When the connection ends, the descriptor fails
    with ECONNRESET, once; it does not connect again."""

    class Stage(enum.Enum):
        connecting = 0
        greeting = 1
        open = 2
        lost = 3

    def __init__(self, library: str, endpoint: str) -> None:
        """Loads libzmq from the path ``library`` and begins to connect to ``endpoint``, as ``tcp://1.2.3.4:5555``.

        Raises RuntimeError, OSError.
        """
    def fileno(self) -> int:
        """Non-blocking; -1 once closed."""
    def wait(self, timeout_ns: int) -> Stage:
        """Returns once it is open or lost, or after ``timeout_ns``."""
    @property
    def reached(self) -> Stage:
        """How far it came, whether it was lost or not."""
    def schedule(self, setup: ThreadSetup) -> list[Right]:
        """For its thread and for that of libzmq; the name in ``setup`` is not given to them."""
    def close(self) -> None:
        """What was written still leaves, within 0.2 s. May be called again."""

class TimeMap:
    """A device's clock mapped to CLOCK_MONOTONIC: an interval that packets narrow; the offset is slewed."""

    def __init__(self, offset_ns: int, error_ns: int, now_ns: int) -> None: ...
    def packet_arrived(self, device_us: int, now_ns: int) -> None:
        """A packet sent at ``device_us`` (32 bits) had arrived at ``now_ns``."""
    def request_arrived(self, sent_ns: int, device_us: int, now_ns: int) -> None:
        """What was sent at ``sent_ns`` had arrived at device time ``device_us``."""
    def advance(self, now_ns: int) -> None: ...
    def to_device_us(self, host_ns: int) -> int: ...
    def to_host_ns(self, device_us: int) -> int: ...
    def widened_us(self, device_us: int, now_ns: int) -> int: ...
    @property
    def offset_ns(self) -> int: ...
    @property
    def error_ns(self) -> int: ...
    @property
    def skew_ppb(self) -> int: ...
    @property
    def skew_error_ppb(self) -> int: ...
    @property
    def contradictions(self) -> int: ...

# --- the graph ---

#: The ONNX operators that a ``Node`` can have, sorted.
OPERATORS: tuple[str, ...]

class Node:
    """A step that the core computes: an ONNX operator on tensors [1, n], by their indices.

    An operand of one element is broadcast; Concat and Gather are those of axis 1, ReduceSum and ReduceMax take
    all elements. A computed index of Gather that is out of range is the nearest that is not; modulo 0 is 0.
    """

    def __init__(self, operator: str, inputs: Sequence[int], output: int) -> None: ...

class ModelRun:
    """A step that ONNX Runtime computes: (the model's name, tensor) of its inputs and outputs."""

    def __init__(
        self, model: bytes, inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]]
    ) -> None: ...

class CompiledRun:
    """A step that was compiled ahead of time: the bytes of a shared object, its inputs and outputs in order.

    The object exports what ``graph/compiled_model.h`` says. Where an input is not finite, its outputs are NaN,
    and zero where they are of no float type. ``label`` names the model in errors.
    """

    def __init__(
        self, label: str, object: bytes, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None: ...

class External:
    """A step that is answered outside the cycle: each run leaves a question, and takes the newest answer.

    Only the answer to the question before is in time. Until ``open`` the answer is zeros, in time; from
    ``close`` on nobody answers. One thread answers. Raises ValueError for a size of 0.
    """

    def __init__(self, question_size: int, answer_size: int) -> None: ...
    @property
    def question_size(self) -> int: ...
    @property
    def answer_size(self) -> int: ...
    def open(self) -> None:
        """While nothing runs: from now on there is somebody to ask."""
    def close(self) -> None:
        """``next`` gives None from now on, at once."""
    def next(self, timeout_ns: int = -1) -> tuple[NDArray[np.float32], int, int] | None:
        """Waits for a question that was not given out yet: its values, when it was left, and when this thread
        woke up for it, before it had Python again (both ns, CLOCK_MONOTONIC). None after ``close``, and after
        ``timeout_ns``; -1 is for ever."""
    def answer(self, values: NDArray[np.float32]) -> None:
        """To the question that was given out last. Raises ValueError for another size."""
    def fail(self, why: str) -> None:
        """Instead of an answer: the next run of the graph fails, and says why."""
    @property
    def error(self) -> str:
        """What failed; empty where nothing has."""
    def answer_at_once(
        self,
        answer: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None,
        begin: Callable[[], object] | None = None,
    ) -> None:
        """Whoever runs the graph answers, in the run itself; ``begin`` is called when the graph is reset. None
        ends that. While nothing runs."""
    def ask(self, n: int, period_ns: int) -> None:
        """Leaves ``n`` questions of zeros, one a period, while no loop runs. Lets go of Python."""

class ExternalRun:
    """A step that is answered outside the cycle, between tensors of float32. One in a graph."""

    def __init__(self, external: External, input: int, output: int) -> None: ...

class Runner:
    """What a cycle runs between samples and commands: a ``Graph``, or a ``Switch`` between several."""

    def run(
        self,
        inputs: Sequence[NDArray[np.float32]],
        applied: bool = True,
        last_command: NDArray[np.float32] | None = None,
        cycle: int | None = None,
    ) -> NDArray[np.float32]:
        """``applied``: whether the command it returns is taken for one that was applied.

        ``last_command`` stays what it was where none is given. ``cycle`` is the number of the cycle; None, of
        a graph, is the next one in which the policy is due. Raises ValueError, RuntimeError.
        """
    def reset(self) -> None: ...
    def warm_up(self, n: int) -> tuple[int, NDArray[np.int64]]:
        """Time of the first run and of the ``n`` after it, ns; resets the state. Of several graphs all are
        warm then, and the times are those of the slowest. Raises RuntimeError."""
    @property
    def error(self) -> str:
        """What ONNX Runtime said against the first run that failed since the last reset, or nothing."""
    @property
    def onnxruntime_version(self) -> str: ...

class Switch(Runner):
    """Several policies with the same inputs and commands of one size, one of which acts: at first the first.

    The selector, an element of an input, is the number of the policy that is to act; what is none of the
    numbers ``transitions`` has for the policy that acts changes nothing. One that takes over begins anew, and
    over ``blend_cycles`` cycles of the grid its command comes from what stood before. Raises ValueError.
    """

    def __init__(
        self,
        policies: Sequence[Graph],
        input: int,
        element: int,
        blend_cycles: int,
        transitions: Sequence[Sequence[int]],
    ) -> None: ...
    @property
    def acting(self) -> int:
        """The number of the policy that acts."""

class Graph(Runner):
    """Everything between samples and commands, on buffers bound once: one ONNX model, or steps.

    Of one model: ``inputs`` and ``command`` are (name, shape), float32; ``feedback`` is (input name, (output
    name, shape)), which follows every run; that of the inputs ``of_applied`` follows the runs whose command was
    applied. Raises RuntimeError in ONNX Runtime's words.
    """

    def __init__(
        self,
        library: str,
        model: bytes,
        inputs: Sequence[tuple[str, Sequence[int]]],
        command: tuple[str, Sequence[int]],
        feedback: Sequence[tuple[str, tuple[str, Sequence[int]]]],
        of_applied: Sequence[str] = (),
    ) -> None: ...
    @staticmethod
    def of_steps(
        library: str,
        tensors: Sequence[tuple[str, str, Sequence[int]]],
        constants: Mapping[int, NDArray[Any]],
        steps: Sequence[Node | ModelRun | CompiledRun | ExternalRun],
        inputs: Sequence[int],
        command: int,
        feedback: Sequence[tuple[int, int, bool]],
        checked: Sequence[int],
        last_command: int | None,
        terminations: int | None = None,
        every: int = 1,
        each_cycle: Sequence[int] = (),
        cycles_since_due: int | None = None,
    ) -> Graph:
        """Steps, in the order in which they run, on ``tensors``: (name, numpy's name of the dtype, shape).

        Everything else names tensors by their index. ``inputs`` of the loop, ``command`` and ``last_command``,
        which holds what the loop sent last, are float32. ``feedback`` is (input, output, of applied commands
        only); a constant for its input is what it starts from, zeros without. Where a ``checked`` tensor, of a
        float dtype, is not finite after a run, all elements of the command are NaN. Where an element of
        ``terminations``, which are bool, is true after a run, a loop goes to FAULT. The policy runs in every
        so-many-th cycle, the steps at the places ``each_cycle`` in each; ``cycles_since_due``, float32 [1],
        counts them from that one on.

        Raises ValueError where types, sizes or the order of steps do not fit; RuntimeError, as above, and
        where a compiled step cannot be loaded or has other inputs or outputs.
        """
    @property
    def every(self) -> int: ...
    @property
    def policy_ran(self) -> bool:
        """Whether it ran in the last cycle."""
    @property
    def external(self) -> External | None:
        """The step that is answered outside the cycle, if there is one."""
    def state(self) -> dict[str, NDArray[Any]]:
        """What it carries to the next run, by the name of the feedback's input."""
    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Sets what is named, of the state's dtype or convertible, of the same size. Raises ValueError."""
    def tensor(self, index: int) -> NDArray[Any]:
        """A copy of a tensor, while nothing runs. Raises IndexError."""

# --- real-time set-up ---

class Right:
    @property
    def name(self) -> str: ...
    @property
    def requested(self) -> str: ...
    @property
    def actual(self) -> str: ...
    @property
    def granted(self) -> bool: ...
    @property
    def error(self) -> int: ...

class Scheduler(enum.Enum):
    other = 0
    fifo = 1
    rr = 2
    deadline = 3

class ThreadSetup:
    name: str
    scheduler: Scheduler
    priority: int
    cpus: list[int]
    runtime_ns: int
    deadline_ns: int
    period_ns: int
    def __init__(self) -> None: ...

def apply_to_this_thread(setup: ThreadSetup) -> list[Right]: ...
def apply_to_thread(thread: int, setup: ThreadSetup) -> list[Right]:
    """CPUs and scheduler of another thread of this process, by its id; its name stays."""

def lock_memory() -> Right: ...
def allowed_cpus() -> list[int]: ...

class CpuLatencyHold:
    """Holds /dev/cpu_dma_latency for as long as it lives."""

    def __init__(self, max_latency_us: int) -> None: ...
    @property
    def right(self) -> Right: ...

# --- the loop ---

class LoopClass(enum.Enum):
    hard = 0
    firm = 1
    soft = 2

class Overrun(enum.Enum):
    skip = 0
    catch_up = 1
    slip = 2

class OnStale(enum.Enum):
    hold = 0
    fault = 1
    use = 2

class Stage(enum.Enum):
    none = 0
    release = 1
    read = 2
    infer = 3
    write = 4

class InputConfig:
    """``port`` is an index into the loop's ports; ``stand_in`` replaces a stale sample (OnStale.use)."""

    def __init__(
        self,
        port: int,
        max_age_ns: int = 0,
        on_stale: OnStale = OnStale.hold,
        stand_in: Sequence[float] = ...,
    ) -> None: ...

class OutputConfig:
    """``port`` is an index into the loop's ports."""

    def __init__(
        self,
        port: int,
        min: Sequence[float] = ...,
        max: Sequence[float] = ...,
        max_rate_per_s: Sequence[float] = ...,
        safe: Sequence[float] = ...,
        default_value: Sequence[float] = ...,
        hold: Sequence[int] = ...,
        relay: Relay | None = None,
    ) -> None:
        """``hold``: for each element, which of the values of all inputs is the safe one, as last measured;
        -1 for the number in ``safe``, which may be NaN elsewhere. ``relay``: where other loops read its
        commands."""

class Stall:
    """Fault injection: uses up time in a stage of cycle ``first`` and of every ``every``-th after (0: once)."""

    def __init__(self, stage: Stage, first: int, every: int, duration_ns: int) -> None: ...

class LoopConfig:
    name: str
    loop_class: LoopClass
    period_ns: int
    deadline_ns: int
    budget_ns: int
    max_misses: int
    window: int
    max_consecutive: int
    fault_on_broken_limit: bool
    default_on_miss: bool
    on_overrun: Overrun
    max_catch_up: int
    paced_by: int | None
    """An index into ``inputs``: released by its samples, and ``timeout_ns`` after the last one without one."""
    timeout_ns: int
    output_at_deadline: bool
    hang_limit_ns: int
    # Lists go in and come out as copies: assign, do not append.
    inputs: list[InputConfig]
    outputs: list[OutputConfig]
    stalls: list[Stall]
    def __init__(self) -> None: ...

def output_lead_ns(period_ns: int, deadline_ns: int) -> int:
    """How long before its deadline a command leaves with ``output_at_deadline``."""

class Clock:
    def now(self) -> int: ...

class MonotonicClock(Clock):
    def __init__(self) -> None: ...

class VirtualClock(Clock):
    """Time that passes only when a loop sleeps, or somebody spends it."""

    oversleep_ns: int
    def __init__(self, start_ns: int = 0) -> None: ...
    def spend(self, duration_ns: int) -> None: ...

class Deliveries:
    """Samples that come at instants of virtual time."""

    def __init__(self, clock: VirtualClock) -> None: ...
    def add(self, port: Port, values: Sequence[float], time_ns: int, at_ns: int) -> None:
        """A sample, taken at ``time_ns``, that comes at ``at_ns``: not before those that were added before it.

        Raises ValueError where it is of another size than those of the port.
        """

class Loop:
    """One activation of a loop, without threads: stepped by the caller on any clock.

    Raises ValueError when parts do not fit.
    """

    def __init__(
        self,
        config: LoopConfig,
        ports: Sequence[Port],
        graph: Runner,
        ring: RingWriter,
        clock: Clock,
    ) -> None: ...
    def begin(self, lead_ns: int = 0) -> None:
        """The first release is ``lead_ns`` from now."""
    def rearm(self) -> None:
        """Before the first release, while no thread runs the loop: nothing from before counts any more."""
    def missing_input(self) -> int | None:
        """After ``rearm``: polls the ports; the first input without a sample, or, where a stale one is a
        fault, with a stale one. None when there is none, and when a device is SAFE: the cycle says so.
        """
    def step(self) -> bool:
        """One period; False when the loop has ended (fault)."""
    def end(self) -> None:
        """The safe command goes out."""
    def request_stop(self) -> None:
        """Any thread: the cycles end soon, safe command last."""
    def measure_overhead(self, n: int) -> NDArray[np.int64]:
        """ns that each of ``n`` cycles took outside inference."""
    def status(self) -> dict[str, Any]: ...

class SetUp:
    """What setting the threads of a loop up has found."""

    @property
    def loop_rights(self) -> list[Right]: ...
    @property
    def guard_rights(self) -> list[Right]: ...
    @property
    def error(self) -> str:
        """Why the loop cannot run; empty when both threads wait for their first release."""
    @property
    def first_run_ns(self) -> int: ...
    @property
    def warm_up_ns(self) -> NDArray[np.int64]: ...

class LoopThreads:
    """The two threads of a loop, for one activation: set_up, activate, deactivate.

    Dropping it deactivates it: the safe command goes out last.
    """

    def __init__(self, loop: Loop) -> None: ...
    def set_up(
        self,
        loop_thread: ThreadSetup,
        guard_thread: ThreadSetup,
        warm_up_runs: int,
        look: Callable[[], None] | None = None,
    ) -> SetUp:
        """Starts both threads; returns when they have their rights and are warm. Nothing is sent.

        ``look`` is called now and then meanwhile; what it raises ends the wait: then ``deactivate``.
        Raises ValueError when that was done already, also by another object for this loop or graph.
        """
    def deactivate(self, timeout_ns: int) -> bool:
        """False: the cycle did not return in time; the safe command was sent all the same."""

def leaks_are_meant() -> None:
    """From now on nothing is said of objects that live on: a thread that hangs, or a parent, has them."""

def process_will_end() -> None:
    """Call it when all loops are deactivated: threads of cycles that hang stay where they are until the end."""

def activate(threads: Sequence[LoopThreads]) -> int:
    """Releases loops that are set up, together; returns r0, the first release of each, in ns.

    Raises ValueError when one of them is not set up, or was activated before.
    """

# --- topics ---

class CdrOp(enum.IntEnum):
    """What a step of a CdrReader does, see ``rtloop/core/topics/cdr_reader.hpp``."""

    skip = ...
    strings = ...
    count = ...
    skip_rest = ...
    repeat = ...
    rest = ...
    take = ...
    names = ...
    joints = ...
    stamp = ...

class CdrType(enum.IntEnum):
    """The numbers of ROS messages."""

    boolean = ...
    int8 = ...
    uint8 = ...
    int16 = ...
    uint16 = ...
    int32 = ...
    uint32 = ...
    int64 = ...
    uint64 = ...
    float32 = ...
    float64 = ...

class CdrReader:
    """Numbers out of serialized messages, by a program of (op, a, b); ``rtloop.nodes.fields`` compiles it."""

    def __init__(
        self, steps: Sequence[tuple[int, int, int]], joints: Sequence[str], n_values: int
    ) -> None:
        """Raises ValueError for a program that could not be run, or that does not take each value once."""
    @property
    def n_values(self) -> int: ...
    def read(self, message: bytes) -> tuple[NDArray[np.float32], int]:
        """The values, and the message's stamp in ns since the epoch of ROS (-1: the program takes none).

        Raises ValueError, with a sentence, for a message that does not hold them.
        """

class CdrWriter:
    """Numbers into a serialized message: ``slots`` are (offset, CdrType, value), one per value."""

    def __init__(
        self, message: bytes, slots: Sequence[tuple[int, int, int]], stamp_offset: int
    ) -> None:
        """``stamp_offset``: -1 where it has none. Raises ValueError for a slot outside of the message."""
    @property
    def n_values(self) -> int: ...
    def data(self, values: NDArray[np.float32], stamp_ns: int) -> bytes:
        """The message with these values. Integers are rounded and saturate: ``cdr_writer.hpp``."""
