"""The service: campaigns over HTTP for a team, on the same ledger, benches and reports as the command."""
