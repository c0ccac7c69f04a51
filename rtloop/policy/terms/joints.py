"""Elements of a vector by the names of joints: order and subset follow from the names alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.config.values import NAME_OF_JOINT, ElementNames

POLICY_JOINTS = ("policy",)


def _of_the_policy(value: Any) -> Any:
    return list(POLICY_JOINTS) if value == "policy" else value


Joints = Annotated[ElementNames, BeforeValidator(_of_the_policy, json_schema_input_type=Any)]
"""Names of joints, in order; ``policy`` is those of the policy."""
Pattern = Annotated[str, StringConstraints(pattern=NAME_OF_JOINT, max_length=64)]
"""How a vector names the element of a joint: ``{}_pos``."""


def joint_names(joints: Sequence[str], policy: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The joints that are meant; None where those of the policy are, and are not known."""
    return policy if tuple(joints) == POLICY_JOINTS else tuple(joints)


def joint_rules(
    keys: Keys,
    joints: Sequence[str],
    policy: tuple[str, ...] | None,
    policy_at: Keys,
) -> Iterator[Problem]:
    """Broken rules of a list of joints at ``keys``; ``policy_at`` is where the policy's stand."""
    if joint_names(joints, policy) is None:
        expected = (
            "names, or `joints` of the policy: neither its section nor the metadata of its model has "
            "some"
        )
        yield Problem(keys, expected, "joints: policy", judged=(policy_at,))
        return
    if tuple(joints) == POLICY_JOINTS:
        return
    for position, joint in enumerate(joints):
        if joint in joints[:position]:
            yield Problem((*keys, position), "each joint once")
        elif policy is not None and joint not in policy:
            near = get_close_matches(joint, policy, 1)
            nearest = f"'{near[0]}'" if near else None
            expected = f"a joint of the policy: {any_of(list(policy))}"
            yield Problem((*keys, position), expected, nearest=nearest, judged=(policy_at,))


def unfound(wanted: Sequence[str], names: Sequence[str], what: str) -> str | None:
    """Why elements of these names cannot be picked from a vector; None where they can."""
    doubled = [name for name in wanted if list(names).count(name) > 1]
    if doubled:
        return f"{what} with one element '{doubled[0]}', not {list(names).count(doubled[0])}"
    missing = [name for name in wanted if name not in names]
    if not missing:
        return None
    near = get_close_matches(missing[0], names, 1)
    hint = f"; nearest '{near[0]}'" if near else ""
    told = ", ".join(f"'{name}'" for name in missing[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return f"{what} with elements {told}{more}; it has {any_of(list(names))}{hint}"
