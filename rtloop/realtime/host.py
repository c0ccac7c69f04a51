"""What this machine is, in honest words: part of every recording."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("rtloop", "onnxruntime", "onnx", "numpy", "mcap", "pyserial", "pyzmq")


def is_preempt_rt() -> bool:
    """Whether the running kernel is PREEMPT_RT."""
    try:
        return Path("/sys/kernel/realtime").read_text(encoding="ascii").strip() == "1"
    except OSError:
        return "PREEMPT_RT" in platform.version()


def cpu_model() -> str:
    """The processor's name, or the architecture where the kernel tells no name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.machine()


def stolen_s() -> float:
    """The time that the hypervisor took from all CPUs since boot; 0 where the kernel does not tell."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        return int(words[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def facts() -> dict[str, Any]:
    """Kernel, processor and versions, as they go into the record."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.version()}",
        "preempt_rt": is_preempt_rt(),
        "cpu": f"{cpu_model()}, {os.cpu_count()} CPUs",
        "hostname": platform.node(),
        "python": platform.python_version(),
        "versions": versions,
    }
