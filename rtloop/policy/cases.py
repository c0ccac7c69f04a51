"""What a policy was given and did where it was trained or deployed, step by step: an .npz file.

``in_<input>`` is required for each input of the loop. Of the rest at least one is: ``obs_<model>.<input>``,
``obs_<input>`` or ``obs_<model>``, what a model observed; ``raw``, what the policy answered; ``targets``, what
was commanded, of all outputs in their order. All are numbers, [steps, n]. ``terminated``, [steps], is 1 where a
termination is to end the loop; without it none is. ``names_in_<input>`` and ``names_targets``, texts [n], are
the names of the elements, where they are in another order than here. ``every``, a number, says that a step is a
cycle of the loop, in every so-many-th of which the policy runs: ``obs_…`` and ``raw`` are of its runs.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config.problem import any_of
from rtloop.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cases:
    """Inputs of steps, and what is to become of them; all of them float32 [steps, n] and finite inputs."""

    steps: int
    in_cycles: bool
    """A step is a cycle of the loop; else a run of the policy."""
    inputs: Mapping[str, Array]
    """By the loop's input, in the order of its elements here."""
    observations: Mapping[str, Array]
    """By model and input, as ``policy.obs``."""
    raw: Array | None
    targets: Array | None
    terminated: Array
    """[steps, 1]: 1 where the loop is to end, else 0."""
    ignored: tuple[str, ...]
    """Arrays of the file that nothing is compared with."""


class CasesFile:
    """The arrays of a file. Everything that is wrong with them is a ConfigError that names the file."""

    def __init__(self, path: Path) -> None:
        """Reads all of it. Raises ConfigError."""
        import numpy as np

        self.path = path
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._used: set[str] = set()
        try:
            if not path.is_file():
                raise self.wrong("no such file", "an .npz file, as numpy.savez writes it")
            loaded = np.load(path, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise self.wrong("a single array", "several with names: numpy.savez")
            with loaded:
                for name in loaded.files:
                    self._arrays[name] = self._read(loaded, name)
        except ConfigError:
            raise
        except (
            Exception
        ) as error:  # of zipfile, zlib, tokenize and numpy, where bytes are not what was written
            text = " ".join(str(error).split()) or type(error).__name__
            raise self.wrong(f"no .npz file ({text})", "what numpy.savez writes") from None

    def wrong(self, found: str, expected: str) -> ConfigError:
        return ConfigError(f"{self.path}: found {found}; expected {expected}")

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    @property
    def is_in_cycles(self) -> bool:
        """Whether a step of it is a cycle of the loop, not a run of the policy."""
        return "every" in self._arrays

    def names_of(self, vector: str) -> tuple[str, ...] | None:
        """The names of the elements of ``in_<input>`` or ``targets``; None where the file has none."""
        name = f"names_{vector}"
        if name not in self._arrays:
            return None
        self._used.add(name)
        array = self._arrays[name]
        if array.dtype.kind != "U" or array.ndim != 1:
            raise self.wrong(f"'{name}' of {_described(array)}", "texts, one for each element")
        return tuple(map(str, array))

    def cases(
        self,
        inputs: Mapping[str, Sequence[str]],
        observations: Mapping[str, int],
        raw_size: int,
        targets: Sequence[str],
        every: int = 1,
        unread: Container[str] = (),
        *,
        inputs_suffice: bool = False,
    ) -> Cases:
        """``inputs`` and ``targets`` are names of elements, ``observations`` sizes by ``MODEL.INPUT``.

        ``every`` is that of the loop; inputs ``unread`` by the policy may be missing, and are zeros then.
        ``inputs_suffice``: what the policy was seen to do is not needed.
        Raises ConfigError.
        """
        import numpy as np

        self._refuse_useless_names()
        given = {name: self._named(f"in_{name}", elements) for name, elements in inputs.items()}
        missing = [
            f"in_{name}" for name, array in given.items() if array is None and name not in unread
        ]
        if missing:
            raise self.wrong(f"no {', '.join(missing)}", f"them beside {self._listed()}")
        seen = self._observed(observations)
        raw, commanded = self._numbers("raw", raw_size), self._named("targets", targets)
        if not (seen or inputs_suffice) and raw is None and commanded is None:
            wanted = [*(f"obs_{name}" for name in observations), "raw", "targets"]
            raise self.wrong(f"nothing to compare with ({self._listed()})", any_of(wanted))
        ended = self._numbers("terminated", 1)
        if ended is not None and not np.isin(ended, (0, 1)).all():
            raise self.wrong("'terminated' with other values", "0 and 1 alone")
        of_runs = {f"obs_{name}": array for name, array in seen.items()} | {"raw": raw}
        of_steps = {f"in_{name}": array for name, array in given.items()}
        of_steps |= {"targets": commanded, "terminated": ended}
        in_cycles = self._are_cycles(every)
        steps = self._steps(of_steps, of_runs, every if in_cycles else 1)
        ignored = tuple(sorted(self._arrays.keys() - self._used))
        return Cases(
            steps,
            in_cycles,
            {
                name: np.zeros((steps, len(inputs[name])), np.float32) if array is None else array
                for name, array in given.items()
            },
            seen,
            raw,
            commanded,
            np.zeros((steps, 1), np.float32) if ended is None else (ended != 0).astype(np.float32),
            ignored,
        )

    # --- inside ---

    def _refuse_useless_names(self) -> None:
        """Names of what goes by its place alone would be believed by whoever wrote them."""
        for name in sorted(self._arrays):
            if name == "names_raw" or name.startswith("names_obs_"):
                expected = "names of inputs and of `targets` alone: these go by their places"
                raise self.wrong(f"'{name}'", expected)

    def _are_cycles(self, every: int) -> bool:
        if not self.is_in_cycles:
            return False
        self._used.add("every")
        given = self._arrays["every"]
        if given.size != 1 or given.dtype.kind not in "iuf" or given.item() != every:
            found = (
                f"'every' of {_described(given)}" if given.size != 1 else f"every {given.item()}"
            )
            raise self.wrong(found, f"{every}, as `policy.every` has it, or no 'every' at all")
        return True

    def _steps(
        self,
        of_steps: Mapping[str, Array | None],
        of_runs: Mapping[str, Array | None],
        every: int,
    ) -> int:
        """How many there are, of which the policy runs in every so-many-th. Raises ConfigError."""
        counts = {name: len(array) for name, array in of_steps.items() if array is not None}
        runs = {name: len(array) for name, array in of_runs.items() if array is not None}
        steps = next(iter(counts.values()), every * next(iter(runs.values()), 0))
        if steps and {*counts.values()} <= {steps} and {*runs.values()} <= {-(-steps // every)}:
            return steps
        told = ", ".join(f"{name} {count}" for name, count in (counts | runs).items())
        expected = "as many of each, one at least"
        if every > 1:
            expected += f"; of obs_… and raw, those of every {every}th"
        raise self.wrong(f"steps: {told}", expected)

    def _read(self, loaded: Any, name: str) -> npt.NDArray[Any]:
        import numpy as np

        try:
            return np.asarray(loaded[name])
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            found = f"'{name}', an array of Python objects"
            raise self.wrong(found, "numbers: every step of the same size") from None

    def _listed(self) -> str:
        return ", ".join(sorted(self._arrays)) or "no array at all"

    def _observed(self, sizes: Mapping[str, int]) -> dict[str, Array]:
        """By ``MODEL.INPUT``: what stands under both names, or under one of them where it leaves no doubt."""
        found: dict[str, str] = {}
        for key in sorted(self._arrays):
            if not key.startswith("obs_"):
                continue
            short = key.removeprefix("obs_")
            meant = [short] if short in sizes else [n for n in sizes if short in n.split(".", 1)]
            if len(meant) != 1:
                listed = any_of([f"obs_{name}" for name in meant or sizes])
                which = f"may be any of {len(meant)}" if meant else "no model observes"
                raise self.wrong(f"'{key}', which {which}", listed)
            if meant[0] in found:
                raise self.wrong(f"{found[meant[0]]} and {key}, which are the same", "one of them")
            found[meant[0]] = key
        given = {name: self._numbers(found[name], sizes[name]) for name in sizes if name in found}
        return {name: array for name, array in given.items() if array is not None}

    def _named(self, name: str, elements: Sequence[str]) -> Array | None:
        """An array whose elements are brought into the order of these names, where it names its own."""
        names = self.names_of(name)
        if names is None:
            return self._numbers(name, len(elements))
        array = self._numbers(name, len(names))
        if array is None:
            raise self.wrong(f"'names_{name}' alone", f"'{name}' beside it")
        doubled = [element for element in names if names.count(element) > 1]
        if doubled:
            raise self.wrong(f"'names_{name}' with '{doubled[0]}' twice", "each name once")
        missing = [element for element in elements if element not in names]
        if missing:
            found = f"'names_{name}' without '{missing[0]}'"
            raise self.wrong(found, f"the elements {any_of(list(elements))}")
        ordered: Array = array[:, [names.index(element) for element in elements]].copy()
        return ordered

    def _numbers(self, name: str, size: int) -> Array | None:
        import numpy as np

        if name not in self._arrays:
            return None
        self._used.add(name)
        array = self._arrays[name]
        if array.dtype.kind not in "fiub":
            raise self.wrong(f"'{name}' of {_described(array)}", "numbers, float32 best")
        if array.ndim == 0 or array.size != len(array) * size:
            found = f"'{name}' of {_described(array)}"
            raise self.wrong(found, f"[steps, {size}], a value for each element here")
        with np.errstate(over="ignore"):  # what is infinite in float32 is told below
            numbers: Array = array.reshape(len(array), size).astype(np.float32)
        if not np.isfinite(numbers).all():
            step, index = (int(i) for i in np.argwhere(~np.isfinite(numbers))[0])
            found = f"'{name}' with {numbers[step, index]} at step {step}, element {index}"
            raise self.wrong(found, "finite numbers: a value that is not is a FAULT in a run")
        return numbers


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
