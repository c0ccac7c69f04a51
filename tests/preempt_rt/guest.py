"""A guest with a PREEMPT_RT kernel, in which commands of this machine run, on its files.

Its time is emulated: how rtloop behaves can be asserted, and how fast it is cannot.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KERNEL_VARIABLE = "RTLOOP_RT_KERNEL"
#: In the order in which they need each other.
_MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("netfs", "fscache", "9pnet", "9pnet_virtio", "9p", "overlay"),
)
_INIT = Path(__file__).parent / "init.sh"
_BUSYBOX = Path("/bin/busybox")
_GET_KERNEL = (
    "apt-get download $(apt-cache depends linux-image-rt-amd64 | sed -n 's/.*Depends: //p') && "
    f"dpkg -x linux-image-*.deb rt-kernel && export {KERNEL_VARIABLE}=$PWD/rt-kernel"
)


def missing_kernel() -> str:
    """How to get one; empty where there is one."""
    return "" if os.environ.get(KERNEL_VARIABLE) else f"no PREEMPT_RT kernel: {_GET_KERNEL}"


def _missing_programs() -> str:
    programs = {
        "qemu-system-x86_64": "qemu-system-x86",
        "cpio": "cpio",
        str(_BUSYBOX): "busybox-static",
    }
    packages = [package for program, package in programs.items() if shutil.which(program) is None]
    return f"apt-get install {' '.join(packages)}" if packages else ""


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int | None
    """None: the guest ended before the command did."""
    output: str
    console: str
    """What the kernel said."""


def run(
    command: Sequence[str], folder: Path, scratch: Path, *, cwd: Path, timeout_s: float
) -> Ended:
    """Boots the guest, runs ``command``, and powers it off.

    The guest has ``folder``, which exists, as ``/mnt``; what it writes elsewhere is gone with it.
    Raises subprocess.TimeoutExpired; nothing is left running.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(str(cwd))}", f"exec {shlex.join(command)}"]
    assert not (missing := _missing_programs()), missing
    (folder / "command").write_text("\n".join(lines) + "\n")
    kernel = Path(os.environ[KERNEL_VARIABLE])
    (image,) = kernel.glob("boot/vmlinuz-*")
    machine = ["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"]
    boot = ["-kernel", str(image), "-initrd", str(_initramfs(kernel, scratch))]
    boot += ["-append", "console=ttyS0 loglevel=4 panic=-1"]
    console = [
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-nic",
        "none",
        "-no-reboot",
    ]
    files = [
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-fsdev", f"local,id=shared,path={folder},security_model=none,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared"),
    ]
    done = subprocess.run(
        ["qemu-system-x86_64", *machine, *boot, *console, *files],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
    )
    status, output = folder / "status", folder / "output"
    return Ended(
        int(status.read_text()) if status.exists() else None,
        output.read_text(errors="replace") if output.exists() else "",
        done.stdout,
    )


def _initramfs(kernel: Path, scratch: Path) -> Path:
    """Busybox, the modules that lead to the host's files, and ``init.sh``."""
    root = scratch / "initramfs"
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy2(_BUSYBOX, root / "bin" / "busybox")
    shutil.copy2(_INIT, root / "init")
    (root / "init").chmod(0o755)
    order = []
    for name in _MODULES:
        (path,) = kernel.rglob(f"{name}.ko")
        shutil.copy2(path, root / "modules")
        order.append(path.name)
    (root / "modules" / "order").write_text("\n".join(order) + "\n")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*"))) + "\n"
    archive = scratch / "initramfs.cpio"
    with archive.open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"],
            input=names.encode(),
            stdout=out,
            cwd=root,
            check=True,
        )
    return archive
