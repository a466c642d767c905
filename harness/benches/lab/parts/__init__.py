"""The parts of a guest: packages, QEMU, disk images, golden guests."""
