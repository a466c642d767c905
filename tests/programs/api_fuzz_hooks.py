"""Keep requests that schemathesis makes up from what would spoil the rest, by variables that the test sets.

That is: to take away the token that they carry (PTP_HARNESS_OWN_TOKEN), and to follow the events of a run that does not
end (PTP_HARNESS_OPEN_RUN) until the client gives up: they follow another one (PTP_HARNESS_ENDED_RUN).
"""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(_context: object, case: Any, **_more: Any) -> None:
    """Let somebody else's token be revoked, and a run be followed that has ended."""
    named = case.path_parameters or {}
    if case.method == "DELETE" and named.get("name") == os.environ["PTP_HARNESS_OWN_TOKEN"]:
        named["name"] = "somebody-else"
    if case.path.endswith("/events") and named.get("run") in (os.environ["PTP_HARNESS_OPEN_RUN"], "last"):
        named["run"] = os.environ["PTP_HARNESS_ENDED_RUN"]
