"""What is said of each element of a command: its bounds, and what it holds that was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from rtloop.config.by_name import Hold, Value, Values, key_of, value_of
from rtloop.config.problem import Keys, Problem, any_of, number, unknown


def bound_rules(
    here: Keys, vectors: Mapping[str, Values | None], names: Sequence[str]
) -> Iterator[Problem]:
    """Of an output at ``here``, each of whose elements has a value: min < max, min ≤ safe, default ≤ max.

    What is measured is not known yet: it is limited to them.
    """
    lo, hi = (*here, "min"), (*here, "max")
    told: set[Keys] = set()
    for i in range(len(names)):
        low, high = (_number(vectors[key], names, i) for key in ("min", "max"))
        if low is not None and high is not None and not low < high:
            problem = Problem(
                (*lo, *_at(vectors["min"], names, i)),
                f"less than max, {number(high)}",
                judged=(hi,),
            )
            if problem.keys not in told:
                yield problem
            told.add(problem.keys)
            continue
        for key in ("safe", "default"):
            value = _number(vectors[key], names, i)
            keys = (*here, key, *_at(vectors[key], names, i))
            if value is None or keys in told:
                continue
            if low is not None and value < low:
                told.add(keys)
                yield Problem(keys, f"at least min, {number(low)}", judged=(lo,))
            elif high is not None and value > high:
                told.add(keys)
                yield Problem(keys, f"at most max, {number(high)}", judged=(hi,))


def holds(here: Keys, safe: Values) -> Iterator[tuple[Keys, Hold]]:
    """Everything that is held, with its place; ``here`` is that of ``safe``."""
    values = safe.items() if isinstance(safe, Mapping) else [((), safe)]
    for key, value in values:
        if isinstance(value, Hold):
            yield (*here, key) if isinstance(key, str) else here, value


def hold_rules(
    here: Keys,
    safe: Values,
    names: Sequence[str] | None,
    inputs: Mapping[str, Sequence[str] | None],
) -> Iterator[Problem]:
    """Each element that holds something finds it among the elements of an input, and none is held by two.

    ``names`` and ``inputs`` are the names of elements, None while only a device knows them. ``here`` is the
    output.
    """
    inputs_at = (*here[:-2], "inputs")
    held = list(holds((*here, "safe"), safe))
    broken = not held
    for keys, hold in held:
        if hold.hold not in inputs:
            broken = True
            known = list(inputs)
            yield unknown((*keys, "hold"), hold.hold, "input", known, inputs_at)
        if "{}" in (hold.named or "") and str(keys[-1]).count("*") > 1:
            broken = True
            expected = "a key with one '*', which {} stands for"
            yield Problem((*keys, "named"), expected, judged=(keys,))
    if broken or names is None:
        return
    lacking: set[Keys] = set()
    held_by: dict[tuple[str, str], str] = {}
    for index, name in enumerate(names):
        value = _value(safe, names, index)
        if not isinstance(value, Hold):
            continue
        key = key_of(safe, name)
        keys = (*here, "safe") if key is None else (*here, "safe", key)
        source = value.source(key or name, name)
        if keys in lacking:
            continue
        measured = inputs[value.hold]
        is_there = measured is None or source in measured
        other = held_by.setdefault((value.hold, source), name)
        if is_there and other == name:
            continue
        lacking.add(keys)
        if measured is None or is_there:
            expected = (
                f"an element of its own for each: '{other}' holds '{source}', too. In `named`, {{}} stands "
                "for the element, or for the * of its key"
            )
            yield Problem(keys, expected, f"'{source}', which '{name}' would hold")
            continue
        judged = ((*inputs_at, value.hold),)
        if all(other.isdigit() for other in measured):
            expected = (
                f"input '{value.hold}' with names for its elements, which has none: give it `names`"
            )
            yield Problem(keys, expected, f"'{source}', which '{name}' would hold", judged=judged)
            continue
        near = get_close_matches(source, measured, 1)
        nearest = f"'{near[0]}'" if near else None
        expected = (
            f"an element of input '{value.hold}': {any_of(list(measured))}. Where names differ, "
            "`named` says how"
        )
        yield Problem(keys, expected, f"'{source}', which '{name}' would hold", nearest, judged)


def numbers(values: Values, names: Sequence[str], no_limit: float) -> tuple[float, ...]:
    """One number for each element: NaN where it is held, ``no_limit`` where there is none.

    Elements of which nothing is said, because only the device knows what they are called, get 0.
    """
    found = (_value(values, names, index) for index in range(len(names)))
    return tuple(
        no_limit if value is None else math.nan if isinstance(value, Hold) else value
        for value in found
    )


def limits(
    vectors: Mapping[str, Values | None], names: Sequence[str]
) -> list[tuple[float | None, float | None, float | None]]:
    """``min``, ``max`` and ``max_rate_per_s`` of each element; None is no limit."""
    found = []
    for key in ("min", "max", "max_rate_per_s"):
        values = vectors[key]
        every = [math.inf] * len(names) if values is None else numbers(values, names, math.inf)
        found.append([value if math.isfinite(value) else None for value in every])
    return list(zip(*found, strict=True))


def sources(
    safe: Values, names: Sequence[str], inputs: Mapping[str, Sequence[str]]
) -> tuple[int, ...]:
    """For each element, which of the values of all inputs it holds, -1 for none; () where none holds any."""
    position: dict[tuple[str, str], int] = {}
    for key, elements in inputs.items():
        for element in elements:
            position[key, element] = len(position)
    found = []
    for index, name in enumerate(names):
        value = _value(safe, names, index)
        source = -1
        if isinstance(value, Hold):
            element = value.source(key_of(safe, name) or name, name)
            source = position.get((value.hold, element), -1)
        found.append(source)
    return tuple(found) if any(source >= 0 for source in found) else ()


def held_values(
    safe: Values, names: Sequence[str], inputs: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Keys, int, int]]:
    """Each element that holds one: its key in ``safe``, its index, and which of the values of all inputs."""
    for index, source in enumerate(sources(safe, names, inputs)):
        if source >= 0:
            key = key_of(safe, names[index])
            yield () if key is None else (key,), index, source


def first_standing(
    vectors: Mapping[str, Values | None],
    names: Sequence[str],
    inputs: Mapping[str, Sequence[str]],
    measured: Sequence[float],
) -> tuple[float, ...]:
    """What stands before the first command, as the core has it: ``safe``, with the values ``measured`` of all
    inputs, within ``min`` and ``max``. ``vectors`` are those of an output."""
    safe = vectors["safe"]
    if safe is None:
        return ()
    constants = numbers(safe, names, 0.0)
    low, high = vectors["min"], vectors["max"]
    lows = numbers(-math.inf if low is None else low, names, -math.inf)
    highs = numbers(math.inf if high is None else high, names, math.inf)
    held = sources(safe, names, inputs) or (-1,) * len(names)
    return tuple(
        constant if source < 0 else min(max(measured[source], least), most)
        for constant, source, least, most in zip(constants, held, lows, highs, strict=True)
    )


def _value(values: Values, names: Sequence[str], index: int) -> Value:
    try:
        return value_of(values, names, index)
    except KeyError:
        return 0.0


def _number(values: Values | None, names: Sequence[str], index: int) -> float | None:
    try:
        value = None if values is None else value_of(values, names, index)
    except KeyError:
        return None
    return None if isinstance(value, Hold) else value


def _at(values: Values | None, names: Sequence[str], index: int) -> Keys:
    if isinstance(values, Mapping):
        key = key_of(values, names[index])
        return () if key is None else (key,)
    return (index,) if isinstance(values, tuple) else ()
