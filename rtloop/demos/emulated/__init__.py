"""The firmware of ``firmware/qemu``, Arm code on an emulated Cortex-M4F, as the device of a demo."""
