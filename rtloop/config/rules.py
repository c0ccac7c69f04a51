"""Rules between the sections of a configuration. Each says what was found and what would be right.

All of them run on sections whose single values are right already, and all broken ones are reported
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rtloop.config.by_name import Hold
from rtloop.config.problem import Keys, Problem, guarded
from rtloop.config.sections import LoopConfig
from rtloop.link.section import LinkConfig
from rtloop.ports.command import hold_rules, holds
from rtloop.ports.port import OutputSection, PortSection

_Users = dict[tuple[str, str], str]


def broken_rules(
    links: Mapping[str, LinkConfig], loops: Mapping[str, LoopConfig]
) -> Iterator[Problem]:
    """Every broken rule of a configuration, those within a section included."""
    for name, link in links.items():
        yield from link.rules(("links", name))
    yield from _one_link_a_device(links)
    yield from _one_user_a_port(loops)
    yield from _no_circle_of_holds(loops)
    for name, loop in loops.items():
        here: Keys = ("loops", name)
        yield from loop.rules(here)
        for key, source in loop.inputs.items():
            at = (*here, "inputs", key)
            yield from guarded((*at, source.kind), source.rules(at, loop, links))
        for key, sink in loop.outputs.items():
            at = (*here, "outputs", key)
            yield from guarded((*at, sink.kind), sink.rules(at, loop, links))
            yield from _hold_rules(at, loop, sink)
        for keys, policy in loop.every_policy.values():
            yield from policy.rules((*here, *keys), loop.inputs, loop.outputs)


def _hold_rules(here: Keys, loop: LoopConfig, sink: OutputSection) -> Iterator[Problem]:
    """What is held is measured by an input of the loop, and is no default."""
    source = loop.inputs.get(sink.safe.hold) if isinstance(sink.safe, Hold) else None
    if source is not None and source.element_names is sink.element_names is None:
        sizes = source.element_count, sink.element_count
        if None not in sizes and sizes[0] != sizes[1]:
            expected = f"an input of {sizes[1]} elements, as here; or `names` on both sides"
            yield Problem((*here, "safe", "hold"), expected, f"one of {sizes[0]}")
            return
    inputs = {key: source.known_names for key, source in loop.inputs.items()}
    yield from hold_rules(here, sink.safe, sink.known_names, inputs)
    held = [keys for keys, _ in holds((*here, "safe"), sink.safe)]
    for keys, hold in holds((*here, "safe"), sink.safe):
        if hold.hold in loop.inputs and loop.inputs[hold.hold].stand_in is not None:
            at = (*here[:2], "inputs", hold.hold, "on_stale")
            expected = (
                f"hold, fault or use without values: output '{here[3]}' holds this input when all ends, and "
                "what was made up is no place to hold"
            )
            yield Problem(at, expected, "{use: ...}", judged=(keys,))
            return
    if held and not sink.can_hold:
        expected = f"numbers: a port of kind '{sink.kind}' cannot be told what was measured"
        yield Problem(held[0], expected)
    if held and loop.on_miss == "default" and sink.default is None:
        expected = (
            "a default beside it with on_miss: default: a policy that is late now and then is not to "
            "follow what is measured"
        )
        judged = ((*here[:2], "on_miss"), (*here, "default"))
        yield Problem(held[0], expected, judged=judged)


def _no_circle_of_holds(loops: Mapping[str, LoopConfig]) -> Iterator[Problem]:
    """What is held through other loops is measured somewhere; else none of them ever starts."""
    held: dict[tuple[str, str], dict[tuple[str, str], Keys]] = {}
    for name, loop in loops.items():
        for key, sink in loop.outputs.items():
            of_output = held.setdefault((name, key), {})
            for keys, hold in holds(("loops", name, "outputs", key, "safe"), sink.safe):
                source = loop.inputs.get(hold.hold)
                read = None if source is None else source.read_output
                if read is not None and read[0] != name:
                    of_output.setdefault(read, keys)
    for first, following in held.items():
        for second, keys in following.items():
            way = _way(held, second, first)
            if way:
                circle = " → ".join(f"'{loop}.{output}'" for loop, output in (first, *way))
                expected = (
                    "a number or what is measured, in one of them: none knows what is safe before "
                    "another does, and no loop starts"
                )
                yield Problem(keys, expected, f"a circle of what is held: {circle}", at_key=True)


def _way(
    edges: Mapping[tuple[str, str], Mapping[tuple[str, str], Keys]],
    start: tuple[str, str],
    end: tuple[str, str],
) -> tuple[tuple[str, str], ...]:
    """A shortest way along the edges, both ends included; () where there is none."""
    ways: list[tuple[tuple[str, str], ...]] = [(start,)]
    seen = {start}
    for way in ways:
        if way[-1] == end:
            return way
        for following in edges.get(way[-1], {}):
            if following not in seen:
                seen.add(following)
                ways.append((*way, following))
    return ()


def _one_link_a_device(links: Mapping[str, LinkConfig]) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, link in links.items():
        owner = owners.setdefault(link.device, name)
        if owner != name:
            expected = f"a device of its own; link '{owner}' has this one"
            yield Problem(("links", name, "device"), expected, f"'{link.device}'")


def _one_user_a_port(loops: Mapping[str, LoopConfig]) -> Iterator[Problem]:
    """A port belongs to one loop, once under its inputs and once under its outputs."""
    users: _Users = {}
    for name, loop in loops.items():
        yield from _once(("loops", name, "inputs"), loop.inputs, "its samples are", users)
        yield from _once(("loops", name, "outputs"), loop.outputs, "its command is", users)


def _once(
    here: tuple[str, str, str], sections: Mapping[str, PortSection], what: str, users: _Users
) -> Iterator[Problem]:
    _, loop, direction = here
    seen: _Users = {}
    for key, section in sections.items():
        if section.identity is None:
            continue
        kind, keys = section.kind, (*here, key, section.kind)
        user = users.setdefault(section.identity, loop)
        first = seen.setdefault(section.identity, key)
        if user != loop:
            yield Problem(keys, f"a {kind} of its own; loop '{user}' uses this one")
        elif first != key:
            yield Problem(keys, f"a {kind} once under {direction}; {what} already '{first}'")
