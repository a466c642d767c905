"""What guests are made from: packages, QEMU, images, golden snapshots."""
