"""Write into the audit log what a caller did, in the words of the route that did it."""

from http import HTTPStatus

from harness.service.audit_trail import note_audited
from harness.service.authentication import Caller
from harness.service.context import ServiceContext
from harness.store.audit_log import AuditEntry


def write_audit(context: ServiceContext, caller: Caller, action: str, name: str, status: HTTPStatus) -> None:
    """Write into the audit log what a caller did."""
    entry = AuditEntry(actor=caller.name, address=caller.address, action=action, object=name, status=int(status))
    context.audit.add(entry)
    note_audited()
