"""An Amazon ENA network device with a PTP hardware clock, served to QEMU over vfio-user.

The device runs outside the guest, so the guest cannot change its clock. README.md explains how to run it.
"""
