"""Names of a bundle's elements against those that the loop says beside it.

What the loop says of an input or output stands as it is written; where both sides have names, these must be
the same, each in its place. The order decides only where one side has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.policy.leapp.bundle import BundleTensor, Port
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.elements import Elements, Scope
from rtloop.policy.terms.inputs import OutputTerm
from rtloop.policy.terms.joints import joint_names
from rtloop.policy.terms.term import ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.leapp.binding import Binding
    from rtloop.policy.section import PolicyConfig


def term_name_rules(section: PolicyConfig, here: Keys, scope: Scope) -> Iterator[Problem]:
    """Where terms bring other elements than an input of the bundle names; no rule of a term is broken."""
    binding = section.binding
    if binding is None:
        return
    for port in sorted(binding.written):
        key = next(k for k in (".".join(port), port[1]) if k in section.observations)
        terms, tensor = section.observations[key], binding.bundle.input(port)
        at = (*here, "observations", key)
        called = [name for term in terms for name in _called(term, scope)]
        names = tensor.value_names
        if names is None or len(called) != len(names):
            continue  # of another size: that is told where it is known
        yield from _term_rules(at, terms, called, tensor, _of(port), scope)


def _called(term: ObservationTerm, scope: Scope) -> Sequence[tuple[str, ...]]:
    """All that each value of a term is called, of all steps of its history; () where it has no name."""
    values = term.values(scope)
    names: Sequence[tuple[str, ...]] = [()] * (values.size or 0)
    if values.names:
        names = list(zip(*values.names, strict=True))
    steps = 1 if term.history is None else len(term.history.steps)
    if term.history is not None and term.history.interleave:
        return [name for name in names for _ in range(steps)]
    return [*names] * steps


def _term_rules(
    at: Keys,
    terms: Sequence[ObservationTerm],
    called: Sequence[tuple[str, ...]],
    tensor: BundleTensor,
    port: str,
    scope: Scope,
) -> Iterator[Problem]:
    names, own = tensor.value_names or (), tensor.element_names or ()
    end = 0
    for index, term in enumerate(terms):
        begin, end = end, end + len(_called(term, scope))
        differs = [n for n in range(begin, end) if called[n] and names[n] not in called[n]]
        if not differs:
            continue
        is_shared = any(name in own for each in called[begin:end] for name in each)
        if not is_shared and not _is_in_the_order_of_the_machine(term):
            continue  # they go by other names, and were put in their places one by one
        first = differs[0]
        told = next((name for name in called[first] if name in own), called[first][0])
        found = f"'{told}' where the bundle's input {port} has '{names[first]}'"
        listed = f"[{', '.join(own)}]" if len(own) <= 8 else "element_names of that input"
        cure = f"`select: {listed}`"
        if not is_shared:
            cure = f"the same names, or `select` with the {end - begin} elements that it gets, in its order"
        yield Problem((*at, index, term.kind), cure, found)


def _is_in_the_order_of_the_machine(term: ObservationTerm) -> bool:
    return term.is_of_the_machine and term.select is None and term.joints is None


def action_rules(
    section: PolicyConfig, binding: Binding, here: Keys, outputs: Mapping[str, Elements]
) -> Iterator[Problem]:
    """Where actions call the bundle's elements otherwise than it does, or leave out what it commands."""
    bundle = binding.bundle
    for keys, action in section.action_terms.items():
        port = binding.port_of(action)
        if port is not None:
            yield from _joint_rules((*here, *keys), action, port, section, binding)
    if not section.model_fields_set & {"action", "actions"}:
        if bundle.outputs:
            for port in bundle.returned:
                found = (
                    f"a bundle whose output {_of(port)}{bundle.output(port).told}, only flows back"
                )
                yield Problem((*here, "leapp"), _all_of(bundle.commanded), found)
        return
    actions = section.action_terms.values()
    if any(a.output is not None and binding.port_of(a) is None for a in actions):
        return  # of an output that there is not: that is told where it is loaded
    done = {binding.port_of(action) for action in actions}
    done |= {
        binding.port_called(term.output)
        for terms in section.groups.values()
        for term in terms
        if isinstance(term, OutputTerm)
    }
    there = {name for output in outputs.values() for name in output.element_names or ()}
    left = [
        port
        for port in bundle.commanded
        if port not in done
        and (bundle.output(port).is_command or there & {*(binding.targets(port) or ())})
    ]
    for port in left:
        key = "actions" if section.actions else "action"
        found = f"no action for the bundle's output {_of(port)}{bundle.output(port).told}"
        yield Problem((*here, key), _all_of(bundle.commanded), found, at_key=True)


def _joint_rules(
    at: Keys, action: ActionTerm, port: Port, section: PolicyConfig, binding: Binding
) -> Iterator[Problem]:
    names = binding.bundle.output(port).names_of_one_step
    if names is None:
        return
    picked = range(len(names)) if action.select is None else action.select
    places = [e for e in picked if isinstance(e, int) and e < len(names)]
    targets = binding.targets(port) or names
    told = [(names[e], targets[e]) for e in places]
    if action.joints is not None:
        joints = joint_names(action.joints, section.joints) or ()
        key, said = "joints", [(joint, action.named.replace("{}", joint)) for joint in joints]
    elif action.to is not None:
        key, said = "to", [(name, name) for name in action.to]
    else:
        return
    if len(said) != len(told):
        return  # told where it is known
    known = {name for each in told for name in each}
    for each, there in zip(said, told, strict=True):
        if not {*each} & {*there} and {*each} & known:
            found = f"'{each[0]}' where the bundle's output {_of(port)} has '{there[0]}'"
            expected = f"no `{key}`, for the bundle names them, or its order: {any_of([t[-1] for t in told])}"
            yield Problem((*at, key), expected, found, at_key=True)
            return


def _of(port: Port) -> str:
    return ".".join(port)


def _all_of(ports: Sequence[Port]) -> str:
    listed = ", ".join(f"{{output: {_of(port)}}}" for port in ports)
    return f"`actions` for all that it commands: {listed}"
