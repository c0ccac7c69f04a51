"""The C++ core: cycle, threads, ports, graph runner, ring.

Everything is allocated at configure time; between activate and deactivate nothing in here allocates, locks,
logs, throws or touches Python. Nothing in here knows YAML, ROS or the recording.
"""

from typing import NamedTuple

from rtloop.core._core import (
    CLASS_NONE,
    DEVICE_REASONS,
    DEVICE_STATES,
    FLAG_ACCOUNTS,
    HISTOGRAM_EDGES_US,
    HISTOGRAM_KINDS,
    INPUT_RECORD_FIELDS,
    INPUT_RECORD_SIZE,
    LINK_VALUES_MAX,
    MESSAGE_TYPES,
    OPERATORS,
    PORT_EVENT_FIELDS,
    PORT_EVENT_SIZE,
    PROTOCOL_VERSION,
    RECORD_FIELDS,
    RECORD_SIZE,
    WORD_ROWS,
    CdrOp,
    CdrReader,
    CdrType,
    CdrWriter,
    Clock,
    CompiledRun,
    CpuLatencyHold,
    Deliveries,
    External,
    ExternalRun,
    FrameDecoder,
    Graph,
    InputConfig,
    Loop,
    LoopClass,
    LoopConfig,
    LoopThreads,
    ModelRun,
    MonotonicClock,
    Node,
    OnStale,
    OutputConfig,
    Overrun,
    Port,
    Relay,
    Right,
    RingReader,
    RingWriter,
    Runner,
    Scheduler,
    SetUp,
    Stage,
    Stall,
    Switch,
    ThreadSetup,
    TimeMap,
    TopicInput,
    TopicOutput,
    VirtualClock,
    ZmqBridge,
    activate,
    allowed_cpus,
    apply_to_this_thread,
    apply_to_thread,
    arm_encode,
    command_encode,
    frame_encode,
    hello_encode,
    histogram_request_encode,
    leaks_are_meant,
    lock_memory,
    message_decode,
    output_lead_ns,
    packet_decode,
    packet_encode,
    process_will_end,
    schema_id,
    schema_request_encode,
    stop_encode,
    time_request_encode,
)

__all__ = [
    "CLASSES",
    "CLASS_NONE",
    "DEVICE_REASONS",
    "DEVICE_STATES",
    "EVENTS",
    "FAULT_REASONS",
    "FLAG_ACCOUNTS",
    "HISTOGRAM_EDGES_US",
    "HISTOGRAM_KINDS",
    "INPUT_RECORD_FIELDS",
    "INPUT_RECORD_SIZE",
    "LINK_VALUES_MAX",
    "MESSAGE_TYPES",
    "OPERATORS",
    "OUTCOMES",
    "PORT_EVENTS",
    "PORT_EVENT_FIELDS",
    "PORT_EVENT_SIZE",
    "PROTOCOL_VERSION",
    "RECORD_FIELDS",
    "RECORD_SIZE",
    "STAGES",
    "STATES",
    "WORDS",
    "CdrOp",
    "CdrReader",
    "CdrType",
    "CdrWriter",
    "Clock",
    "CompiledRun",
    "CpuLatencyHold",
    "Deliveries",
    "External",
    "ExternalRun",
    "FrameDecoder",
    "Graph",
    "InputConfig",
    "Loop",
    "LoopClass",
    "LoopConfig",
    "LoopThreads",
    "ModelRun",
    "MonotonicClock",
    "Node",
    "OnStale",
    "OutputConfig",
    "Overrun",
    "Port",
    "Relay",
    "Right",
    "RingReader",
    "RingWriter",
    "Runner",
    "Scheduler",
    "SetUp",
    "Stage",
    "Stall",
    "Switch",
    "ThreadSetup",
    "TimeMap",
    "TopicInput",
    "TopicOutput",
    "VirtualClock",
    "Word",
    "ZmqBridge",
    "activate",
    "allowed_cpus",
    "apply_to_this_thread",
    "apply_to_thread",
    "arm_encode",
    "command_encode",
    "frame_encode",
    "hello_encode",
    "histogram_request_encode",
    "leaks_are_meant",
    "lock_memory",
    "message_decode",
    "output_lead_ns",
    "packet_decode",
    "packet_encode",
    "process_will_end",
    "schema_id",
    "schema_request_encode",
    "stop_encode",
    "time_request_encode",
]


class Word(NamedTuple):
    """An entry of words.def. ``remedy``, what to do next, is empty in tables of which nothing needs one."""

    number: int
    sentence: str
    remedy: str


#: By table (classes, states, outcomes, stages, events, port_events, fault_reasons), then by word.
WORDS: dict[str, dict[str, Word]] = {}
for _table, _word, _number, _sentence, _remedy in WORD_ROWS:
    WORDS.setdefault(_table, {})[_word] = Word(_number, _sentence, _remedy)


def _numbers(table: str) -> dict[str, int]:
    return {word: entry.number for word, entry in WORDS[table].items()}


# The vocabulary of words.def by number, for whoever reads or writes records.
CLASSES = _numbers("classes")
STATES = _numbers("states")
OUTCOMES = _numbers("outcomes")
STAGES = _numbers("stages")
#: Bits of a record's ``events``.
EVENTS = _numbers("events")
#: Kinds of what a port reports beside its samples.
PORT_EVENTS = _numbers("port_events")
FAULT_REASONS = _numbers("fault_reasons")
