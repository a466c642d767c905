"""An Amazon ENA network device with a PTP hardware clock, served to QEMU over vfio-user.

The device runs outside the guest, so its clock is a truth that the guest cannot touch. README.md tells how to run it.
"""
