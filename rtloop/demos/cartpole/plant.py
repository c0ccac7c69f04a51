"""The simulated cart-pole of the firmware, driven from Python.

The dynamics exist once, in ``firmware/host/cartpole.c``; this module compiles that file and
steps it through ctypes. It needs a source checkout and a C compiler, and nothing at run time
of a loop imports it: it serves training, scoring and tests.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtloop.errors import RtloopError

#: Inner integration steps per second (``cartpole_default_params().dt_s`` is 1e-4 s).
STEPS_PER_S = 10_000

_HERE = Path(__file__).resolve().parent
_SOURCES = (_HERE.parents[2] / "firmware" / "host" / "cartpole.c", _HERE / "plant_batch.c")


def compiler() -> list[str] | None:
    """The command of the C compiler (``$CC``, else ``cc``), or None when there is none."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    return command if shutil.which(command[0]) else None


def _load() -> ctypes.CDLL:
    command = compiler()
    if command is None:
        raise RtloopError("no C compiler found; install one (apt install gcc) or set $CC")
    missing = [str(path) for path in _SOURCES if not path.is_file()]
    if missing:
        raise RtloopError(
            f"{missing[0]} not found: the plant is compiled from a source checkout of rtloop; "
            "clone the repository and run from there"
        )
    with tempfile.TemporaryDirectory(prefix="rtloop-cartpole-") as directory:
        library = Path(directory) / "cartpole.so"
        # No FMA contraction: the same run on every CPU with the same libm.
        flags = ["-std=c11", "-O2", "-ffp-contract=off", "-fPIC", "-shared"]
        include = f"-I{_SOURCES[0].parent}"
        sources = [str(path) for path in _SOURCES]
        done = subprocess.run(
            [*command, *flags, include, "-o", str(library), *sources, "-lm"],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RtloopError(f"{command[0]} could not compile the plant:\n{done.stderr}")
        return ctypes.CDLL(str(library))  # stays mapped after the file is gone


class Plants:
    """``count`` independent cart-poles, at rest and upright until :meth:`reset`.

    Arrays are ordered cart position [m], cart velocity [m/s], pole angle [rad], pole rate [rad/s].
    Raises RtloopError when the C source or a compiler is missing.
    """

    def __init__(self, count: int) -> None:
        self._library = _load()
        self._library.plants_sizeof.restype = ctypes.c_size_t
        pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double
        self._library.plants_init.argtypes = [
            pointer,
            size,
            ctypes.c_uint64,
            pointer,
            *[number] * 4,
        ]
        self._library.plants_step.argtypes = [pointer, size, pointer, pointer, pointer]
        self._library.plants_sense.argtypes = [pointer, size, pointer]
        self._library.plants_state.argtypes = [pointer, size, pointer]

        self.count = count
        # float64 storage, because the C struct needs its alignment.
        words = self._library.plants_sizeof() // 8
        self._storage = np.zeros((count, words), dtype=np.float64)
        self._force = np.zeros(count, dtype=np.float64)
        self._steps = np.zeros(count, dtype=np.uint32)
        self._upright = np.ones(count, dtype=np.uint8)
        self._sample = np.zeros((count, 4), dtype=np.float32)
        self._state = np.zeros((count, 4), dtype=np.float64)
        for index in range(count):
            self.reset(index, seed=index, start=np.zeros(4))

    def reset(
        self,
        index: int,
        *,
        seed: int,
        start: npt.ArrayLike,
        extra_delay_s: float = 0.0,
        noise: float = 1.0,
        push_newton: float = 0.0,
        push_interval_s: float = 4.0,
    ) -> None:
        """Starts plant ``index`` again at ``start`` (4 values), with an empty delay line."""
        first = np.ascontiguousarray(start, dtype=np.float64)
        if first.shape != (4,):
            raise ValueError(f"start has shape {first.shape}; four values are needed")
        self._library.plants_init(
            self._storage.ctypes.data,
            index,
            seed,
            first.ctypes.data,
            extra_delay_s,
            noise,
            push_newton,
            push_interval_s,
        )

    def step(self, force_n: npt.ArrayLike, steps: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Holds ``force_n`` for ``steps`` inner steps each; tells which poles stood throughout."""
        self._force[:] = force_n
        self._steps[:] = steps
        self._library.plants_step(
            self._storage.ctypes.data,
            self.count,
            self._force.ctypes.data,
            self._steps.ctypes.data,
            self._upright.ctypes.data,
        )
        return self._upright.astype(np.bool_)

    def sense(self) -> npt.NDArray[np.float32]:
        """A noisy sample, float32 [count, 4]. The array is reused by the next call."""
        self._library.plants_sense(self._storage.ctypes.data, self.count, self._sample.ctypes.data)
        return self._sample

    def state(self) -> npt.NDArray[np.float64]:
        """The exact state, float64 [count, 4]. The array is reused by the next call."""
        self._library.plants_state(self._storage.ctypes.data, self.count, self._state.ctypes.data)
        return self._state
