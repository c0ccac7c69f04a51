"""What the numbers of a loop mean for its class, in plain words."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from rtloop.report.typography import count, duration_us, plural, share


class Level(Enum):
    """How a loop did, judged by what its class promises."""

    MET = "met"
    TOLERATED = "tolerated"
    FAILED = "failed"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Verdict:
    """A headline and what stands behind it; plain text."""

    level: Level
    headline: str
    sentences: tuple[str, ...]


PROMISES = {
    "hard": "a miss is a failure",
    "firm": "a late result is useless",
    "soft": "a late result still counts",
}

_FAULTS = {
    "deadline_miss": "a missed deadline",
    "limit_broken": "its limit of misses being broken",
    "non_finite": "an output that was not a finite number",
    "port_error": "a link or port that failed",
    "stale_input": "an input that was too old",
    "hang": "a cycle that did not return",
    "infer_error": "the policy failing to run",
}


def judge(summary: dict[str, Any]) -> Verdict:
    """The verdict on a loop, from its part of the ``--json`` summary."""
    executed, misses = summary["executed"], summary["misses"]
    if executed == 0:
        return Verdict(Level.NOTHING, "Nothing ran", ("No cycle was executed.",))
    # A loop that was shut down in order is finalized: its reason tells that it had latched before.
    reason = summary.get("fault_reason", "none")
    faulted = reason != "none"
    sentences = [_misses(summary) if misses else _all_met(summary)]
    if faulted:
        sentences.append(
            f"The loop stopped in FAULT because of {_FAULTS.get(reason, reason)}; "
            "only an explicit reset starts it again."
        )
    broken = summary.get("limit_broken", 0)
    if broken and summary["class"] != "hard":
        sentences.append(f"Its limit of misses was broken {plural(broken, 'time')}.")
    sentences += _besides(summary)
    failed = faulted or bool(broken) or (summary["class"] == "hard" and misses > 0)
    if failed:
        headline = "Fault" if faulted else "Failed"
        level = Level.FAILED
    elif misses:
        headline, level = f"{share(misses, executed)} late, as its class allows", Level.TOLERATED
    else:
        headline, level = "Every deadline met", Level.MET
    return Verdict(level, headline, tuple(sentences))


def _all_met(summary: dict[str, Any]) -> str:
    tightest = summary["lateness_us"]["max"]
    spare = "" if tightest is None else f"; the latest had {duration_us(-tightest)} to spare"
    n = summary["executed"]
    cycles = f"All {plural(n, 'cycle')}" if n > 1 else "The one cycle"
    return f"{cycles} finished by the deadline{spare}."


def _misses(summary: dict[str, Any]) -> str:
    executed, misses = summary["executed"], summary["misses"]
    outcomes = summary["outcomes"]
    latest = summary["lateness_us"]["max"]
    of = f"{count(misses)} of {plural(executed, 'cycle')} ({share(misses, executed)})"
    worst = ""
    if latest is not None and latest > 0:
        worst = f" The latest was {duration_us(latest)} past its deadline."
    row = summary.get("max_consecutive_misses", 0)
    in_a_row = f" At most {count(row)} in a row." if row > 1 else ""
    if summary["class"] == "hard":
        safe = outcomes.get("safe", 0)
        sent = " The safe command went out at the deadline." if safe else ""
        return f"{of} missed the deadline. A hard loop may miss none.{sent}{worst}"
    if summary["class"] == "firm":
        kept = []
        if outcomes.get("held"):
            kept.append(f"the previous command was held {plural(outcomes['held'], 'time')}")
        if outcomes.get("default"):
            kept.append(f"the default was sent {plural(outcomes['default'], 'time')}")
        instead = f": {' and '.join(kept)}" if kept else ""
        return f"{of} came too late and were discarded{instead}.{in_a_row}{worst}"
    return f"{of} were written late.{in_a_row}{worst}"


def _besides(summary: dict[str, Any]) -> list[str]:
    sentences = []
    if summary.get("unfinished"):
        n = summary["unfinished"]
        verb = "has" if n == 1 else "have"
        sentences.append(f"{plural(n, 'cycle')} never returned and {verb} no response time.")
    if summary["skipped"]:
        n = summary["skipped"]
        verb = "was" if n == 1 else "were"
        sentences.append(
            f"{plural(n, 'release')} {verb} skipped because the cycle before had not ended."
        )
    if summary["records_lost"]:
        n = summary["records_lost"]
        sentences.append(
            f"{plural(n, 'record')} of it {'is' if n == 1 else 'are'} missing from this file: "
            "overwritten before the recorder came. The figures do not show them."
        )
    if summary.get("state") == "active":
        sentences.append(
            "The recording ends while the loop was active: its process was killed, or recording was "
            "stopped first."
        )
    late = summary.get("device_late_commands", 0)
    if late:
        sentences.append(f"The device refused {plural(late, 'command')} as late.")
    return sentences
