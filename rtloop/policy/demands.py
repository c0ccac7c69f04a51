"""What terms, actions and terminations need of the vectors that they read: elements by name, and how many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rtloop.policy.section import PolicyConfig
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope
from rtloop.policy.terms.inputs import GroupTerm, InputTerm
from rtloop.policy.terms.joints import joint_names
from rtloop.policy.terms.term import ObservationTerm

Names = tuple[str, ...]


@dataclass(frozen=True)
class Demand:
    """What is needed of an input or a group."""

    vector: str
    least: int
    """How many elements at least."""
    names: tuple[Names, ...] = ()
    """Of elements: all of one of these lists; none where order decides."""


def demands(section: PolicyConfig, scope: Scope) -> Iterator[Demand]:
    """What is needed of inputs and groups, as far as ``scope`` tells; it knows the models."""
    for terms in section.terms.values():
        for term in terms:
            yield from _of_term(term, scope)
    for action in section.action_terms.values():
        yield from _of_action(action, scope)
    for termination in section.terminations.given.values():
        names = termination.element_names(scope)
        for vector in termination.reads():
            yield Demand(vector, termination.least_size, (names,) if names else ())


def of_inputs(section: PolicyConfig, scope: Scope) -> Iterator[Demand]:
    """Of inputs alone: what is needed of a group is needed of an input that it reads whole."""
    for demand in demands(section, scope):
        yield from _handed_on(demand, scope)


def picked(term: ObservationTerm, scope: Scope) -> Names:
    """The elements that a term takes from its source by name."""
    joints = joint_names(term.joints or (), scope.joints) or ()
    names = tuple(element for element in term.select or () if isinstance(element, str))
    return names + tuple(term.named.replace("{}", joint) for joint in joints)


def _of_term(term: ObservationTerm, scope: Scope) -> Iterator[Demand]:
    if isinstance(term, InputTerm | GroupTerm):
        names = picked(term, scope)
        least = max([0, *(e for e in term.select or () if isinstance(e, int))]) + 1
        yield Demand(term.reads()[0], least, (names,) if names else ())
    for vector in term.reads():
        yield Demand(vector, term.least_size(vector, scope))
    if isinstance(term.minus, str) and term.minus != DEFAULT_POSE:
        values = term.values(scope)
        yield Demand(term.minus, values.size or 1, values.names)


def _of_action(action: ActionTerm, scope: Scope) -> Iterator[Demand]:
    size, names = action.size(scope) or 1, action.element_names(scope)
    for vector in action.reads():
        yield Demand(vector, size, (names,) if names else ())
    if action.plus is not None:
        yield Demand(action.plus, size, action.values(scope, size).names)


def _handed_on(demand: Demand, scope: Scope) -> Iterator[Demand]:
    if demand.vector not in scope.groups:
        yield demand
        return
    terms = scope.groups[demand.vector]
    whole = [t for t in terms if t.select is None and t.joints is None and t.history is None]
    takers = [t for t in whole if isinstance(t, InputTerm | GroupTerm) and t.size(scope) is None]
    if not takers:
        return
    others = [term for term in terms if term is not takers[0]]
    there = {name for term in others for name in term.element_names(scope) or ()}
    least = demand.least - sum(term.size(scope) or 1 for term in others)
    names = tuple(tuple(n for n in called if n not in there) for called in demand.names)
    yield from _handed_on(Demand(takers[0].reads()[0], max(1, least), names), scope)
