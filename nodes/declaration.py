"""Declares the parameters of the table at a node, and keeps their rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from .parameters import PARAMETERS, NodeParameter, as_meant, parameter, refusal, unknown

#: Rclpy's own, of entities that allow it.
_OF_RCLPY = "qos_overrides."


class Declaration:
    """The declared parameters of one node."""

    def __init__(self, node: Node, state: Callable[[], str]) -> None:
        """``state`` is the node's now. Raises rclpy's ParameterException for a value that is none of its."""
        self._node = node
        self._state = state
        self._given: dict[str, Parameter] = node._parameter_overrides
        for name, given in self._given.items():
            self._given[name] = _as_meant(given)
        node.add_pre_set_parameters_callback(lambda given: [_as_meant(one) for one in given])
        node.add_on_set_parameters_callback(self._judge)
        for known in PARAMETERS:
            if "<" not in known.name:
                self._declare(known.name, known)
        for text in self._unknown():
            node.get_logger().warning(text)

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter, which is declared first where its name has a link's in it."""
        if not self._node.has_parameter(name):
            known = parameter(name)
            assert known is not None, name
            self._declare(name, known)
        return self._node.get_parameter(name).value

    def given_devices(self) -> list[str]:
        """The links that a parameter moves, whether or not the configuration has them."""
        names = {*self._given, *self._node.get_parameters_by_prefix("")}
        of_links = (name.split(".") for name in names if name.startswith("links."))
        return sorted(parts[1] for parts in of_links if len(parts) == 3 and parts[2] == "device")

    def _declare(self, name: str, known: NodeParameter) -> None:
        limits = {}
        if known.range is not None:
            low, high = known.range
            limits["floating_point_range"] = [FloatingPointRange(from_value=low, to_value=high)]
        descriptor = ParameterDescriptor(
            description=known.description,
            additional_constraints=f"may change: {known.when}",
            read_only=known.when == "at start",
            **limits,
        )
        self._node.declare_parameter(name, known.default, descriptor)

    def _judge(self, given: list[Parameter]) -> SetParametersResult:
        for one in given:
            # One that is just being declared has no value yet that could be in use.
            state = self._state() if self._node.has_parameter(one.name) else "unconfigured"
            if reason := refusal(one.name, one.value, state):
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _unknown(self) -> list[str]:
        others = set(self._node.get_parameters_by_prefix(""))
        names = [name for name in self._given if not name.startswith(_OF_RCLPY)]
        return [text for name in names if (text := unknown(name, others))]


def _as_meant(given: Parameter) -> Parameter:
    value = as_meant(given.name, given.value)
    return given if value is given.value else Parameter(given.name, value=value)
