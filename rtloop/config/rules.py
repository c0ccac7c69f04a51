"""Rules between the sections of a configuration. Each says what was found and what would be right.

All of them run on sections whose single values are right already, and all broken ones are reported
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rtloop.config.problem import Keys, Problem, guarded
from rtloop.config.sections import LoopConfig
from rtloop.link.section import LinkConfig
from rtloop.ports.port import PortSection

_Users = dict[tuple[str, str], str]


def broken_rules(
    links: Mapping[str, LinkConfig], loops: Mapping[str, LoopConfig]
) -> Iterator[Problem]:
    """Every broken rule of a configuration, those within a section included."""
    for name, link in links.items():
        yield from link.rules(("links", name))
    yield from _one_link_a_device(links)
    yield from _one_user_a_port(loops)
    for name, loop in loops.items():
        here: Keys = ("loops", name)
        yield from loop.rules(here)
        for key, source in loop.inputs.items():
            at = (*here, "inputs", key)
            yield from guarded((*at, source.kind), source.rules(at, loop, links))
        for key, sink in loop.outputs.items():
            at = (*here, "outputs", key)
            yield from guarded((*at, sink.kind), sink.rules(at, loop, links))
        yield from loop.policy.rules((*here, "policy"), loop.inputs, loop.outputs)


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
