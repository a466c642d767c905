"""Communication with a guest and its QEMU: JSON lines, QMP, the agent in the guest."""
