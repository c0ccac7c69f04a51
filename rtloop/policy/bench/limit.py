"""What one core of this machine can do, measured here in a fraction of a second: no figure of a data sheet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.policy.library import session

#: A product of this size stays in a core's own caches and is large enough to be at its best.
MATRIX = 256
#: Each is the best of what is seen in so long.
SECONDS = 0.15
#: A shorter walk measures the call.
LEAST_BYTES = 1 << 18
#: Where the kernel does not tell the size of the last cache.
CACHE_BYTES = 1 << 25
CACHE_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Limit:
    """Of one core, float32."""

    flops_per_s: float
    """Multiply-adds, each two, by onnxruntime's product of two matrices in one thread."""
    bytes_per_s: float
    """Reading or copying as much as the policy is, again and again: from the cache that holds it."""
    memory_bytes_per_s: float
    """The same of more than the last cache holds."""

    def shortest_ns(self, flops: int, size_bytes: int, *, is_cold: bool = False) -> float:
        """What arithmetic, or reading, takes at least: the larger of both."""
        speed = self.memory_bytes_per_s if is_cold else self.bytes_per_s
        return 1e9 * max(flops / self.flops_per_s, size_bytes / speed)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_limit(size_bytes: int) -> Limit:
    """For a policy of so many bytes, in the calling thread."""
    return Limit(
        _multiply_adds_per_s(),
        _bytes_per_s(max(LEAST_BYTES, size_bytes)),
        _bytes_per_s(2 * last_cache_bytes()),
    )


def last_cache_bytes() -> int:
    """The size of the last cache, at most CACHE_MAX_BYTES; CACHE_BYTES where the kernel does not tell."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            sizes.append(int(path.read_text(encoding="ascii").strip().removesuffix("K")) << 10)
        except (OSError, ValueError):
            continue
    return min(max(sizes, default=CACHE_BYTES), CACHE_MAX_BYTES)


class Eviction:
    """A buffer larger than the last cache: walking through it, nothing else is left in the caches of data."""

    def __init__(self) -> None:
        self._buffer = np.zeros(2 * last_cache_bytes() // 8, np.int64)

    def walk(self) -> None:
        """Writes to all of it."""
        self._buffer += 1


def _multiply_adds_per_s() -> float:
    import onnx
    from onnx import TensorProto, helper

    square = [MATRIX, MATRIX]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, square) for name in "abc"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "peak", values[:2], values[2:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    run = session(model).run
    feed = {name: np.ones(square, np.float32) for name in "ab"}
    return 2 * MATRIX**3 / _best_s(lambda: run(None, feed))


def _bytes_per_s(size_bytes: int) -> float:
    """The faster of reading, and of copying, which reads and writes."""
    values = np.ones(size_bytes // 4, np.float32)
    copy = np.empty_like(values)
    reading = values.nbytes / _best_s(values.max)
    return max(reading, 2 * values.nbytes / _best_s(lambda: np.copyto(copy, values)))


def _best_s(run: Callable[[], Any]) -> float:
    best, end = float("inf"), time.monotonic() + SECONDS
    run()
    while time.monotonic() < end or best == float("inf"):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return max(best, 1e-9)
