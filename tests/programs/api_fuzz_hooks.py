"""Keep requests that schemathesis makes up from taking away the token that they carry (PTP_HARNESS_OWN_TOKEN)."""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(_context: object, case: Any, **_more: Any) -> None:
    """Let somebody else's token be revoked."""
    if case.method == "DELETE" and (case.path_parameters or {}).get("name") == os.environ["PTP_HARNESS_OWN_TOKEN"]:
        case.path_parameters["name"] = "somebody-else"
