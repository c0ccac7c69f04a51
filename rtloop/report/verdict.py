"""What the numbers of a loop mean for its class, in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rtloop.report.typography import count, duration_us, plural, share
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.observe.words import explain, find

#: What a share counts, where it counts an event.
_EVENT_OF = {"stale": "stale_input", "clamped": "clamped"}
#: The lateness of a record, 1 ns, that says no more than that it was later than the deadline.
JUDGED_US = 0.001


class Level(Enum):
    """How a loop did, judged by what its class promises; overshadowed: it did well, the run did not."""

    MET = "met"
    TOLERATED = "tolerated"
    FAILED = "failed"
    OVERSHADOWED = "overshadowed"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Verdict:
    """A headline and what stands behind it; plain text."""

    level: Level
    headline: str
    sentences: tuple[str, ...]


def judge_run(problems: Sequence[str]) -> Verdict | None:
    """The verdict on what went wrong besides the loops; None where nothing is known to have."""
    if not problems:
        return None
    return Verdict(Level.FAILED, f"The run had {plural(len(problems), 'problem')}", tuple(problems))


def judge(summary: LoopSummary, run: Verdict | None = None, *, is_paced: bool = False) -> Verdict:
    """The verdict on a loop, in a run that has a verdict of its own; ``is_paced``: by an input."""
    executed, misses = summary.executed, summary.misses
    failures = summary.failures
    if executed == 0:
        return Verdict(Level.NOTHING, "Nothing ran", ("No cycle was executed.",))
    # A loop that was shut down in order is finalized: its reason tells that it had latched before.
    reason = summary.fault_reason
    faulted = reason != "none"
    sentences = [_misses(summary) if misses else _all_met(summary)]
    if faulted:
        word = find("fault_reasons", reason)
        why = reason if word is None else explain(word)
        sentences.append(f"The loop stopped in FAULT, until an explicit reset: {why}.")
    broken = summary.limit_broken
    if broken and summary.loop_class != "hard":
        sentences.append(f"Its limit of misses was broken {plural(broken, 'time')}.")
    sentences += _too_much(summary)
    sentences += [f"The device of {failure}." for failure in summary.device_failures]
    sentences += [f"The device of {absence}." for absence in summary.absences]
    sentences += _besides(summary, is_paced)
    if failures:
        headline = "Fault" if faulted else "Failed"
        level = Level.FAILED
    elif misses:
        headline, level = f"{share(misses, executed)} late, as its class allows", Level.TOLERATED
    else:
        # As on the console: nothing is green where the exit code was 1.
        headline, level = "Every deadline met", Level.OVERSHADOWED if run else Level.MET
    return Verdict(level, headline, tuple(sentences))


def _all_met(summary: LoopSummary) -> str:
    tightest = summary.lateness_us.max
    spare = "" if tightest is None else f"; the latest had {duration_us(-tightest)} to spare"
    n = summary.executed
    cycles = f"All {plural(n, 'cycle')}" if n > 1 else "The one cycle"
    return f"{cycles} finished by the deadline{spare}."


def _misses(summary: LoopSummary) -> str:
    executed, misses = summary.executed, summary.misses
    outcomes = summary.outcomes
    latest = summary.lateness_us.max
    of = f"{count(misses)} of {plural(executed, 'cycle')} ({share(misses, executed)})"
    worst = ""
    if latest is not None and latest > JUDGED_US:
        worst = f" The latest was {duration_us(latest)} past its deadline."
    row = summary.max_consecutive_misses
    in_a_row = f" At most {count(row)} in a row." if row > 1 else ""
    if summary.loop_class == "hard":
        safe = outcomes.get("safe", 0)
        sent = " The safe command went out at the deadline." if safe else ""
        if outcomes.get("written_late"):
            sent = " The command went out late, and the safe one after it."
        return f"{of} missed the deadline. A hard loop may miss none.{sent}{worst}"
    if summary.loop_class == "firm":
        kept = []
        # Recordings of an older version do not tell why.
        held = summary.held_late or (0 if summary.held_stale else outcomes.get("held", 0))
        if held:
            kept.append(f"the previous command was held {plural(held, 'time')}")
        if outcomes.get("default"):
            kept.append(f"the default was sent {plural(outcomes['default'], 'time')}")
        instead = f": {' and '.join(kept)}" if kept else ""
        return f"{of} came too late and were discarded{instead}.{in_a_row}{worst}"
    return f"{of} were written late.{in_a_row}{worst}"


def _too_much(summary: LoopSummary) -> list[str]:
    """The shares that are over their limits, each with what to do about it."""
    sentences = []
    for over in summary.too_much:
        word = find("events", _EVENT_OF.get(over.name, ""))
        cure = f" {word.remedy[0].upper()}{word.remedy[1:]}." if word is not None else ""
        sentences.append(f"Too much of it: {over}.{cure}")
    return sentences


def _besides(summary: LoopSummary, is_paced: bool) -> list[str]:
    sentences = []
    if summary.held_stale:
        n = summary.held_stale
        sentences.append(
            f"The previous command stood in {plural(n, 'cycle')} because an input was stale."
        )
    if dropped := summary.outcomes.get("dropped", 0):
        sentences.append(f"An output did not take {plural(dropped, 'command')}.")
    if summary.unfinished:
        n = summary.unfinished
        verb = "has" if n == 1 else "have"
        sentences.append(f"{plural(n, 'cycle')} never returned and {verb} no response time.")
    if summary.skipped:
        n = summary.skipped
        verb = "was" if n == 1 else "were"
        why = "because the cycle before had not ended"
        if is_paced:
            why = "because no sample came for so many periods, or it came while a cycle ran"
        sentences.append(f"{plural(n, 'release')} {verb} skipped {why}.")
    if summary.slipped_periods:
        n = summary.slipped_periods
        sentences.append(
            f"{plural(n, 'release')} never {'was' if n == 1 else 'were'}: the grid slipped by so many "
            "periods (on_overrun: slip)."
        )
    if summary.records_lost:
        n = summary.records_lost
        sentences.append(
            f"{plural(n, 'record')} of it {'is' if n == 1 else 'are'} missing from this file: "
            "overwritten before the recorder came. The figures do not show them."
        )
    if summary.state == "active":
        sentences.append(
            "The recording ends while the loop was active: its process was killed, or recording was "
            "stopped first."
        )
    late = summary.device_late_commands
    if late:
        sentences.append(f"The device refused {plural(late, 'command')} as late.")
    return sentences
