"""The programs that compile a model: the generator of C, and a C compiler; and for which CPU."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from rtloop import child
from rtloop.stopping import go_on

GENERATOR = "emx-onnx-cgen"
#: Longer than any model that a loop could run takes.
TIMEOUT_S = 300.0
#: The stack of a loop's thread is prefaulted; two frames of this size fit there.
LARGEST_FRAME = 128 * 1024
#: Sums may be taken in another order, but what is not finite goes on being that. Without the macro the
#: headers of the GNU C library keep its vector functions (tanhf, expf) to those who give that up, too.
#: A sum over a row is several at a time: one would wait for each addition, which makes 1.6 × of the time.
#: Strict where something else than arithmetic is at stake: no array of variable length, no large frame.
COMPILE = (
    "-std=gnu11", "-O3", "-march=native", "-ffast-math", "-fno-finite-math-only", "-D__FAST_MATH__",
    "-funroll-loops", "-fvariable-expansion-in-unroller",
    "-fPIC", "-fvisibility=hidden", "-Werror=vla", "-Werror=incompatible-pointer-types",
    "-Werror=int-conversion", "-Werror=implicit-function-declaration",
)  # fmt: skip
#: Without -ffast-math: with it, GCC before 13 links what has every program that loads the object
#: flush denormal numbers to zero. What is wrapped, is not there: who allocates or opens files does not link.
LINK = (
    "-shared", "-lm", "-Wl,-z,defs", "-Wl,-z,noexecstack",
    *(f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "free", "fopen", "printf")),
)  # fmt: skip

#: C before the generated: those of C drop a NaN, which a clip inside a model must not.
BEFORE = """\
#include <math.h>
static inline float rtloop_fmaxf(float a, float b) { return a > b || a != a ? a : b; }
static inline float rtloop_fminf(float a, float b) { return a < b || a != a ? a : b; }
static inline double rtloop_fmax(double a, double b) { return a > b || a != a ? a : b; }
static inline double rtloop_fmin(double a, double b) { return a < b || a != a ? a : b; }
#define fmaxf rtloop_fmaxf
#define fminf rtloop_fminf
#define fmax rtloop_fmax
#define fmin rtloop_fmin
"""

_RAN_OUT = re.compile(f"MemoryError|Killed|{os.strerror(errno.ENOSPC)}|{os.strerror(errno.ENOMEM)}")
_FLAGS_OF_CODE = re.compile(
    r"sse|ssse|avx|fma|f16c|bmi|lzcnt|popcnt|movbe|adx|aes|vaes|pclmul|vpclmul|gfni|sha|xop|tbm|amx|apx"
)
#: Where the kernel's name of a feature is not that of the compiler.
_KERNEL_NAMES = {
    "sse3": "pni",
    "lzcnt": "abm",
    "bmi": "bmi1",
    "sha": "shani",
    "pclmul": "pclmulqdq",
}


class NotCompiledError(Exception):
    """Why a model is not compiled, in a sentence. ``is_lasting``: the same tools would say so again."""

    def __init__(self, reason: str, *, is_lasting: bool = False) -> None:
        super().__init__(reason)
        self.is_lasting = is_lasting


@dataclass(frozen=True)
class Tools:
    """What compiles a model here."""

    compiler: tuple[str, ...]
    """Its command."""
    version: str
    """The first line that it says of itself."""
    generator: str
    """Name and version."""
    macros: str
    """sha256 of what the compiler predefines for this CPU: its version, its target, and what code it makes."""
    features: tuple[str, ...]
    """What a CPU must have to run what it makes, by the kernel's names, without underscores."""

    @property
    def flags(self) -> tuple[str, ...]:
        """For the compiler."""
        if "clang" in self.version:
            return (*COMPILE, f"-Wframe-larger-than={LARGEST_FRAME}", "-Werror=frame-larger-than")
        return (*COMPILE, f"-Werror=frame-larger-than={LARGEST_FRAME}")


def find_tools() -> Tools:
    """Raises NotCompiledError with what is missing, and how to get it."""
    return _found(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@cache
def _found(chosen: str, _path: str) -> Tools:
    generator = _generator()
    compiler = _compiler(chosen)
    said = _said([*compiler, "--version"]).splitlines()
    macros = _said([*compiler, *COMPILE, "-dM", "-E", "-x", "c", "/dev/null"])
    return Tools(
        compiler,
        said[0].strip() if said else "",
        generator,
        hashlib.sha256(macros.encode()).hexdigest(),
        _features(macros),
    )


def _generator() -> str:
    try:
        return f"{GENERATOR} {metadata.version(GENERATOR)}"
    except metadata.PackageNotFoundError:
        raise NotCompiledError(
            f"{GENERATOR}, which writes the C, is not installed: pip install 'rtloop[aot]'"
        ) from None


def _compiler(chosen: str) -> tuple[str, ...]:
    try:
        command = shlex.split(chosen)
    except ValueError:
        command = [chosen]
    if command:
        if shutil.which(command[0]) is None:
            raise NotCompiledError(f"CC is {chosen!r}, which is no program here")
        return tuple(command)
    # GCC before others: it uses the vector functions of the C library.
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name) is not None:
            return (name,)
    raise NotCompiledError("there is no C compiler here: apt-get install gcc")


def _said(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=30, check=True,
            stdin=subprocess.DEVNULL, env=_environment(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        raise NotCompiledError(f"the C compiler does not work: {_why(told)}") from None
    return done.stdout


def _features(macros: str) -> tuple[str, ...]:
    if platform.machine() != "x86_64":
        return tuple(sorted(cpu_features()))
    defined = (name.lower() for name in re.findall(r"^#define __(\w+?)__ 1$", macros, re.MULTILINE))
    names = (name for name in defined if _FLAGS_OF_CODE.match(name) and not name.endswith("_math"))
    return tuple(sorted({_KERNEL_NAMES.get(name, name).replace("_", "") for name in names}))


@cache
def cpu_features() -> frozenset[str]:
    """What this CPU has, by the kernel's names, without underscores; empty where it does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).replace("_", "").split()) if found else frozenset()


def _environment() -> dict[str, str]:
    return {**child.environment(), "LC_ALL": "C"}


# --- their use ---


def compile_model(tools: Tools, model: bytes, wrapper: str) -> bytes:
    """A shared object of a model; ``wrapper`` is C that follows the generated function ``model``.

    Raises NotCompiledError, StoppedError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="rtloop-aot-") as name:
            code = _made(tools, model, wrapper, Path(name))
    except OSError as error:
        told = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        raise NotCompiledError(f"its code is not there: {told}{error.strerror}") from None
    if not code:
        raise NotCompiledError(f"{tools.compiler[0]} says it worked, and wrote nothing")
    return code


def _made(tools: Tools, model: bytes, wrapper: str, folder: Path) -> bytes:
    """Raises OSError, NotCompiledError, StoppedError."""
    (folder / "model.onnx").write_bytes(model)
    # Everything inside the object and on the stack: no file beside it, no malloc.
    _run(
        [
            *child.python(), "-m", "emx_onnx_cgen", "compile", "model.onnx", "model.c",
            "--model-name", "model", "--color", "never", "--restrict-arrays",
            "--large-weight-threshold", "0", "--large-temp-threshold", "0",
        ],
        folder,
        GENERATOR,
    )  # fmt: skip
    source = folder / "model.c"
    source.write_text(BEFORE + source.read_text("utf-8") + wrapper, "utf-8")
    compiler = tools.compiler
    _run([*compiler, *tools.flags, "-c", "model.c", "-o", "model.o"], folder, compiler[0])
    _run([*compiler, "model.o", "-o", "model.so", *LINK], folder, compiler[0])
    return (folder / "model.so").read_bytes()


def _run(command: Sequence[str], folder: Path, name: str) -> None:
    """Raises NotCompiledError with what it said."""
    end_s = time.monotonic() + TIMEOUT_S
    with (folder / "said").open("w+", errors="replace") as said:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NotCompiledError(f"{name} does not start: {error.strerror}") from None
        try:
            while True:
                go_on()
                if time.monotonic() > end_s:
                    raise NotCompiledError(f"{name} did not end within {TIMEOUT_S:g} s")
                try:
                    code = process.wait(0.05)
                    break
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code != 0:
            said.seek(0)
            text = said.read()
            # A compiler may have run out of something, whatever it says of that.
            is_said = name == GENERATOR and code > 0 and "Result: " in text
            lasts = is_said and not _RAN_OUT.search(text)
            raise NotCompiledError(f"{name}: {_why(text)}", is_lasting=lasts)


def _why(said: str) -> str:
    """Of what a program said, the line that says why it failed, cut to what a sentence holds."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for pattern in (r"Result: (.+)", r".*?(undefined reference to .+)", r".*?error: (.+)"):
        for line in lines:
            if found := re.match(pattern, line):
                return found.group(1)[:300]
    return lines[-1][:300] if lines else "it failed and said nothing"
