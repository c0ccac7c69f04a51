"""rtloop on a real PREEMPT_RT kernel: Debian's, emulated by QEMU on this machine's own files."""
