"""Turn a run's record into text or a document. Pure: a report holds only facts of the record."""
