"""Read the record of a host back from its document, so that it is written for people as one of this machine is."""

from typing import Any

from harness.client.document_reading import read_document
from harness.client.run_views import Document
from harness.model import HostRecord

_OF_VERDICT = ("outcome", "reason", "sentence", "remedy", "findings", "contradictions", "unobserved", "remarks")
_OF_HOST = (
    *("name", "instance_type", "facts", "stages", "state", "address", "zone", "region", "image", "claim"),
    *("api_calls", "cost_usd", "quality", "expected", "disturbances"),
)


def read_host_record(document: Document, *, url: str) -> HostRecord:
    """Read the record of a host with a verdict. Raises SetupError for a document of a version that differs too much."""
    verdict: dict[str, Any] = {name: document.get(name) for name in _OF_VERDICT}
    verdict["rungs"] = [
        {"name": rung["rung"], **{key: rung.get(key) for key in ("status", "evidence", "reason")}}
        for rung in document.get("rungs", ())
    ]
    values = {name: document[name] for name in _OF_HOST if name in document}
    return read_document(HostRecord, {**values, "verdict": verdict}, url=url)
