"""The lab: local virtual machines that behave like EC2 hosts as far as clocks go, with every clock's truth known."""
