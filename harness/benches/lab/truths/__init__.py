"""The lab types, with their truths and the verdicts that the truths demand."""
