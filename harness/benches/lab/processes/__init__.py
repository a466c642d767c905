"""The processes of guests on this machine: where they run, how they are confined and found."""
