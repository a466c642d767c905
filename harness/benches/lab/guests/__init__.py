"""The life of one guest: restore, identity, network, records, snapshots and removal."""
