"""Which texts may name something? A pattern for each kind of name that becomes a path, an argument or a remote word.

None of them can begin with "-", be a path, hold white space, quotes or characters of a shell or of a template.
"""

import re

RUN = r"[a-z0-9]{1,48}"
"""A run's: four letters of the ledger, or the name of the process that keeps hosts by itself."""

HOST = r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,126}"
"""A host's: its instance type, or its name in an inventory, which may be an address."""

ADDRESS = r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252}"
"""A host name or an IP address, as ssh takes it."""

USER = r"[a-z_][a-z0-9_-]{0,31}"
"""Who logs in (useradd(8))."""

REGION = r"[a-z]{2,3}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}"
INSTANCE_TYPE = r"[a-z0-9-]{1,32}\.[a-z0-9-]{1,32}"
ATTEMPT = r"[1-9][0-9]{0,3}"
TOKEN = re.compile(rf"({RUN})/({HOST})/({ATTEMPT})")

TEMPLATE_MARKS = ("{{", "{%", "{#")
"""What begins a template of Ansible's (Jinja's default delimiters): refused in all that people write for us."""


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text is such a name."""
    return re.fullmatch(pattern, text) is not None
