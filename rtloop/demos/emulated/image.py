"""The image that the emulated board runs: built once from the firmware's sources, then kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rtloop import core
from rtloop.cache import cache_folder
from rtloop.errors import RtloopError
from rtloop.progress import tell
from rtloop.telemetry.private import make_private_directory, pinned, read_own_file, replace_file

EMULATOR = "qemu-system-arm"
COMPILER = "arm-none-eabi-gcc"
BUILD_TIMEOUT_S = 300
_LARGEST = 1 << 24
_PROGRAM = "rtloop-firmware.elf"
_FOLDERS = ("lib", "qemu", "host")
_SUFFIXES = (".c", ".h", ".ld", ".cmake", ".txt")


def missing_tools() -> str:
    """What is not installed that builds and runs it, and the cure; may be empty."""
    tools = {
        COMPILER: "gcc-arm-none-eabi",
        EMULATOR: "qemu-system-arm",
        "cmake": "cmake",
    }
    lacking = {tool: package for tool, package in tools.items() if shutil.which(tool) is None}
    if not _generator() and shutil.which("make") is None:
        lacking["ninja"] = "ninja-build"
    if COMPILER not in lacking and not _has_c_library():
        lacking["newlib for Arm"] = "libnewlib-arm-none-eabi"
    if not lacking:
        return ""
    if COMPILER in lacking:  # it recommends its C library, which not everybody installs
        lacking["newlib for Arm"] = "libnewlib-arm-none-eabi"
    return (
        f"the emulated board needs {', '.join(lacking)}: "
        f"apt-get install {' '.join(lacking.values())}"
    )


def firmware_sources() -> Path:
    """The folder ``firmware``, of the checkout this runs from or of the package. Raises RtloopError."""
    checkout = Path(__file__).parents[3]
    package = Path(core._core.__file__).parents[1]
    for folder in (checkout / "firmware", package / "firmware"):
        if (folder / "qemu" / "CMakeLists.txt").is_file():
            return folder
    raise RtloopError(f"{package / 'firmware'} is missing; reinstall rtloop: pip install .")


def firmware_image() -> Path:
    """The ELF file, built first where these sources were not yet. Raises RtloopError."""
    if missing := missing_tools():
        raise RtloopError(missing)
    sources = firmware_sources()
    folder = cache_folder("qemu")
    name = f"{_key(sources)[:16]}.elf"
    try:
        make_private_directory(folder)
        with pinned(folder) as kept:
            if not _is_there(kept / name):
                tell("building the firmware for the emulated Cortex-M4F")
                replace_file(kept / name, _built(sources))
    except OSError as error:
        raise RtloopError(
            f"the firmware's image cannot be kept in {folder}: {error.strerror}"
        ) from None
    return folder / name


def _is_there(path: Path) -> bool:
    try:
        return bool(read_own_file(path, _LARGEST))
    except FileNotFoundError:
        return False


def _key(sources: Path) -> str:
    """Of all that the image is made from."""
    digest = hashlib.sha256(_said([COMPILER, "--version"]).encode())
    for folder in _FOLDERS:
        for path in sorted((sources / folder).rglob("*")):
            if path.suffix in _SUFFIXES:
                digest.update(f"\0{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _built(sources: Path) -> bytes:
    # A compiler of a build that was interrupted may still write there.
    with tempfile.TemporaryDirectory(prefix="rtloop-qemu-", ignore_cleanup_errors=True) as name:
        _said(["cmake", "-S", str(sources / "qemu"), "-B", name, *_generator()])
        _said(["cmake", "--build", name, "--target", _PROGRAM.removesuffix(".elf")])
        return (Path(name) / _PROGRAM).read_bytes()


def _generator() -> list[str]:
    return ["-G", "Ninja"] if shutil.which("ninja") is not None else []


def _has_c_library() -> bool:
    name = "rdimon.specs"
    return _said([COMPILER, f"-print-file-name={name}"]).strip() != name


def _said(command: Sequence[str]) -> str:
    """Raises RtloopError with the end of what a command said that failed."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_TIMEOUT_S,
            start_new_session=True,  # Ctrl-C is for us
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RtloopError(f"{command[0]} does not work: {error}") from None
    if done.returncode != 0:
        raise RtloopError(f"{command[0]} failed, building the firmware:\n{done.stdout[-2000:]}")
    return done.stdout
