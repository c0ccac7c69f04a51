"""What is commanded in the cycles between two runs of a policy that runs in every so-many-th."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtloop.policy.shaping import row
from rtloop.policy.terms.start import has_acted

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder, Update


def interpolated(builder: GraphBuilder, target: str, commanded: Update) -> str:
    """From what was commanded last straight to the target, in the cycle before the policy runs again.

    Float32 [1, n], in each cycle. ``commanded`` gives, at the end, what the next line begins at: it follows
    what was *applied*, so that the command never leaps, however many cycles were lost; where the policy ran
    late in its period, the line is as much steeper. The first target of all is commanded at once.
    """
    size = builder.size(target)
    with builder.each_cycle():
        last = builder.feedback("between", (1, size), commanded, of_applied=True)
    begin = builder.node("Where", [has_acted(builder), last, target], "line_begins")

    def cycles_of_line() -> str:
        every = builder.constant(row(builder.every, 1), "every")
        return builder.node("Sub", [every, builder.cycles_since_due], "cycles_of_line")

    def rest_of_line() -> str:
        last_cycle = builder.constant(row(builder.every - 1, 1), "last_cycle")
        left = builder.node("Sub", [last_cycle, builder.cycles_since_due], "cycles_left")
        return builder.node("Div", [left, cycles], "rest_of_line")

    def gone_of_line() -> str:
        one = builder.constant(row(1.0, 1), "whole_line")
        return builder.node("Sub", [one, rest], "gone_of_line")

    cycles = builder.once("cycles_of_line", cycles_of_line)
    with builder.each_cycle():
        rest = builder.once("rest_of_line", rest_of_line)
        gone = builder.once("gone_of_line", gone_of_line)
        parts = [
            builder.node("Mul", [begin, rest], "of_begin"),
            builder.node("Mul", [target, gone], "of_target"),
        ]
        return builder.node("Add", parts, "between")
