"""Rules between keys of a configuration. Each says what was found and what would be right.

All of them run on a ``Config`` whose single values are right already, and all broken ones are
reported together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rtloop.config.policy_rules import policy_rules
from rtloop.config.problem import LINK_VALUES_MAX, Keys, Problem, number, same_length, unknown
from rtloop.link.wire_cost import BITS_PER_BYTE, command_frame_bytes

if TYPE_CHECKING:
    from rtloop.config.sections import (
        Config,
        InputConfig,
        LimitConfig,
        LinkConfig,
        LoopConfig,
        OutputConfig,
    )


def broken_rules(config: Config) -> Iterator[Problem]:
    """Every broken rule of the configuration, in the order of its sections."""
    yield from _devices(config.links)
    yield from _link_users(config)
    for name, loop in config.loops.items():
        here: Keys = ("loops", name)
        yield from _timing(here, loop)
        yield from _class(here, loop)
        if loop.limit is not None and loop.loop_class != "hard":
            yield from _limit((*here, "limit"), loop.limit)
        for key, source in loop.inputs.items():
            yield from _input((*here, "inputs", key), source, config.links)
        for key, sink in loop.outputs.items():
            yield from _output((*here, "outputs", key), sink, config.links)
        yield from _wire(here, loop, config.links)
        yield from policy_rules((*here, "policy"), loop.policy, loop)
        yield from _realtime((*here, "realtime"), loop)


def _devices(links: dict[str, LinkConfig]) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, link in links.items():
        owner = owners.setdefault(link.device, name)
        if owner != name:
            expected = f"a device of its own; link '{owner}' has this one"
            yield Problem(("links", name, "device"), expected, f"'{link.device}'")


def _link_users(config: Config) -> Iterator[Problem]:
    users: dict[str, str] = {}
    for name, loop in config.loops.items():
        for direction, ports in (("inputs", loop.inputs), ("outputs", loop.outputs)):
            seen: dict[str, str] = {}
            for key, port in ports.items():
                if port.link is None:
                    continue
                here: Keys = ("loops", name, direction, key, "link")
                user = users.setdefault(port.link, name)
                first = seen.setdefault(port.link, key)
                if user != name:
                    expected = f"a link of its own; loop '{user}' uses this one"
                    yield Problem(here, expected)
                elif first != key:
                    what = "samples are" if direction == "inputs" else "command is"
                    expected = f"a link once under {direction}; its {what} already '{first}'"
                    yield Problem(here, expected)


def _timing(here: Keys, loop: LoopConfig) -> Iterator[Problem]:
    rate, period = (*here, "rate_hz"), (*here, "period_ms")
    if loop.rate_hz is not None and loop.period_ms is not None:
        expected = "exactly one of the two"
        yield Problem(period, expected, "both rate_hz and period_ms", judged=(rate,), at_key=True)
        return
    if loop.rate_hz is None and loop.period_ms is None:
        expected = "exactly one of the two, for example rate_hz: 1000"
        yield Problem(
            here, expected, "neither rate_hz nor period_ms", judged=(rate, period), at_key=True
        )
        return
    deadline = (*here, "deadline_ms")
    if loop.deadline_ns > loop.period_ns:
        expected = f"at most the period, {_ms(loop.period_ns)} ms"
        yield Problem(deadline, expected, judged=(rate, period))
    elif loop.budget_ns is not None and loop.budget_ns > loop.deadline_ns:
        expected = f"at most the deadline, {_ms(loop.deadline_ns)} ms"
        yield Problem((*here, "budget_ms"), expected, judged=(rate, period, deadline))


def _class(here: Keys, loop: LoopConfig) -> Iterator[Problem]:
    loop_class = (*here, "class")
    set_keys = loop.model_fields_set
    if loop.loop_class != "firm" and "on_miss" in set_keys:
        expected = {
            "hard": "no on_miss in a hard loop: a miss sends the safe command and latches FAULT",
            "soft": "no on_miss in a soft loop: a late result is written late",
        }[loop.loop_class]
        yield Problem((*here, "on_miss"), expected, judged=(loop_class,))
    if loop.on_overrun != "catch_up" and "max_catch_up" in set_keys:
        expected = f"no max_catch_up with on_overrun: {loop.on_overrun}, or on_overrun: catch_up"
        overrun = (*here, "on_overrun")
        yield Problem((*here, "max_catch_up"), expected, judged=(overrun,))
    if loop.loop_class == "hard" and loop.limit is not None:
        reason = "the first miss of a hard loop is a failure"
        if loop.limit.max_misses != 0:
            keys = (*here, "limit", "max_misses")
            yield Problem(keys, f"0: {reason}", judged=(loop_class,))
        for key in ("window", "max_consecutive", "on_broken"):
            if key in loop.limit.model_fields_set:
                keys = (*here, "limit", key)
                expected = f"no {key}: {reason}"
                yield Problem(keys, expected, judged=(loop_class,), at_key=True)


def _limit(here: Keys, limit: LimitConfig) -> Iterator[Problem]:
    misses = (*here, "max_misses")
    if limit.max_misses >= limit.window:
        expected = f"fewer than the window of {limit.window} cycles, or no limit at all"
        yield Problem(misses, expected, judged=((*here, "window"),))
    elif limit.max_consecutive is not None and limit.max_consecutive > limit.max_misses:
        expected = (
            f"at most max_misses, {limit.max_misses} (a longer run breaks that limit first), or "
            "no max_consecutive"
        )
        yield Problem((*here, "max_consecutive"), expected, judged=(misses,))


def _input(here: Keys, source: InputConfig, links: dict[str, LinkConfig]) -> Iterator[Problem]:
    link, mailbox = (*here, "link"), (*here, "mailbox")
    yield from _link_or_mailbox(here, source.link, source.mailbox is not None, links)
    if source.max_age_ms is None and "on_stale" in source.model_fields_set:
        age = (*here, "max_age_ms")
        expected = "max_age_ms beside it: without one no sample is ever stale"
        yield Problem((*here, "on_stale"), expected, judged=(age, link, mailbox))


def _link_or_mailbox(
    here: Keys, link: str | None, mailbox: bool, links: dict[str, LinkConfig]
) -> Iterator[Problem]:
    judged = ((*here, "link"), (*here, "mailbox"))
    if (link is None) == (not mailbox):
        found = "both link and mailbox" if mailbox else "neither link nor mailbox"
        yield Problem(here, "exactly one of link and mailbox", found, judged=judged, at_key=True)
    if link is not None and link not in links:
        yield unknown((*here, "link"), link, "link", list(links), ("links",))


def _output(here: Keys, sink: OutputConfig, links: dict[str, LinkConfig]) -> Iterator[Problem]:
    size = (*here, "size")
    yield from _link_or_mailbox(here, sink.link, sink.mailbox, links)
    vectors = {
        "safe": sink.safe,
        "default": sink.default,
        "min": sink.min,
        "max": sink.max,
        "max_rate_per_s": sink.max_rate_per_s,
    }
    if sink.link is not None:
        if sink.size is not None:
            expected = "no size with a link: the schema of the device has it"
            yield Problem(size, expected, judged=((*here, "link"),))
        if (sink.element_count or 0) > LINK_VALUES_MAX:
            key = next(k for k, v in vectors.items() if isinstance(v, tuple))
            expected = f"at most {LINK_VALUES_MAX} values, which is what a packet carries"
            yield Problem((*here, key), expected)
            return
    elif sink.mailbox and sink.element_count is None:
        expected = "a size, or a list for safe"
        safe = (*here, "safe")
        found = "a mailbox of unknown size"
        yield Problem(here, expected, found, judged=(size, safe), at_key=True)
    same = list(same_length(here, vectors, sink.size, "size"))
    yield from same
    if not same:
        yield from _bounds(here, sink)


def _bounds(here: Keys, sink: OutputConfig) -> Iterator[Problem]:
    count = sink.element_count or 1
    lowest, highest = sink.min, sink.max
    lo, hi = (*here, "min"), (*here, "max")
    for i in range(count):
        low, high = _element(lowest, i), _element(highest, i)
        if low is not None and high is not None and not low < high:
            which = _at(sink.min, i)
            expected = f"less than max, {number(high)}"
            yield Problem((*lo, *which), expected, judged=(hi,))
            continue
        for key, values in (("safe", sink.safe), ("default", sink.default)):
            value = _element(values, i)
            if value is None:
                continue
            below, above = low is not None and value < low, high is not None and value > high
            if not (below or above):
                continue
            keys = (*here, key, *_at(values, i))
            if below and low is not None:
                yield Problem(keys, f"at least min, {number(low)}", judged=(lo,))
            elif high is not None:
                yield Problem(keys, f"at most max, {number(high)}", judged=(hi,))
        if not any(isinstance(v, tuple) for v in (lowest, highest, sink.safe, sink.default)):
            return


def _element(values: float | tuple[float, ...] | None, index: int) -> float | None:
    return values[index] if isinstance(values, tuple) else values


def _at(values: float | tuple[float, ...] | None, index: int) -> Keys:
    return (index,) if isinstance(values, tuple) else ()


def _wire(here: Keys, loop: LoopConfig, links: dict[str, LinkConfig]) -> Iterator[Problem]:
    """What the loop asks of the links that it commands. The device's schema may refuse more."""
    if (loop.rate_hz is None) == (loop.period_ms is None):
        return
    paced = ((*here, "rate_hz"), (*here, "period_ms"))
    for key, sink in loop.outputs.items():
        if sink.link not in links or sink.link is None:
            continue
        link = links[sink.link]
        judged = (*paced, (*here, "outputs", key))
        if link.command_timeout_ns <= loop.period_ns:
            found = f"{number(link.command_timeout_ms)} ms"
            expected = (
                f"more than {_ms(loop.period_ns)} ms, the period of loop '{here[-1]}' that "
                "commands it: the device goes SAFE between two commands"
            )
            yield Problem(("links", sink.link, "command_timeout_ms"), expected, found, None, judged)
        count = min(sink.element_count or 1, LINK_VALUES_MAX)
        size = command_frame_bytes(count)
        needed = -(-size * BITS_PER_BYTE * 1_000_000_000 // loop.period_ns)
        if needed > link.baud:
            expected = (
                f"at least {needed}: loop '{here[-1]}' sends {size} bytes "
                f"every {_ms(loop.period_ns)} ms; raise the baud rate or lower the loop's rate"
            )
            yield Problem(("links", sink.link, "baud"), expected, f"{link.baud}", None, judged)


def _realtime(here: Keys, loop: LoopConfig) -> Iterator[Problem]:
    realtime = loop.realtime
    if realtime.cpu_affinity is None:
        return
    cpus = (*here, "cpu_affinity")
    if realtime.scheduler == "deadline":
        expected = (
            "no cpu_affinity with scheduler: deadline (Linux refuses the two together), or "
            "scheduler: fifo"
        )
        yield Problem(cpus, expected, judged=((*here, "scheduler"),))
    for index, cpu in enumerate(realtime.cpu_affinity):
        if cpu in realtime.cpu_affinity[:index]:
            yield Problem((*cpus, index), "each CPU once")


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.9g}"
