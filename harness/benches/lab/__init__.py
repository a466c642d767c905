"""The lab: local virtual machines whose clocks behave like EC2 hosts' clocks, with every clock's truth known."""
