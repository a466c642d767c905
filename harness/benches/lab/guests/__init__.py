"""One guest: its restore, identity, network, records, snapshots and removal."""
