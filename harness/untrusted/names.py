"""Define a pattern for each kind of name that becomes a path, an argument or a word of a remote command.

No such name begins with "-", is a path, or holds white space, quotes or characters of a shell or of a template.
"""

import re

RUN = r"[a-z0-9]{1,48}"
"""A run's name: four or six letters from the ledger, or a name for the process that keeps hosts outside the ledger."""

HOST = r"[A-Za-z0-9_][A-Za-z0-9._:-]{0,126}"
"""A host's name: its instance type, or its name in an inventory, which may be an address."""

ADDRESS = r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252}"
"""A host name or an IP address, as ssh takes it."""

USER = r"[a-z_][a-z0-9_-]{0,31}"
"""A login user (useradd(8))."""

REGION = r"[a-z]{2,3}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}"
INSTANCE_TYPE = r"[a-z0-9-]{1,32}\.[a-z0-9-]{1,32}"
ATTEMPT = r"[1-9][0-9]{0,3}"
TOKEN = re.compile(rf"({RUN})/({HOST})/({ATTEMPT})")

TEMPLATE_MARKS = ("{{", "{%", "{#")
"""Marks that begin an Ansible template (Jinja's default delimiters). Refused in all input by people."""


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text matches the pattern."""
    return re.fullmatch(pattern, text) is not None


ZONE = r"[a-z]{2,4}[a-z0-9-]{2,60}"
"""The name of an availability zone or a local zone, or a zone identifier."""

CLOCK = r"[A-Za-z0-9_*?\[](?:[A-Za-z0-9 ._*?\[\]!:()+-]{0,62}[A-Za-z0-9_*?\].!)+])?"
"""A pattern of a clock's name: the kernel has `ena-ptp-05`, `0e:11:22:33:44:55`, `mlx5_ptp`, `KVM virtual PTP`.

No quotes and no `|`: it stands between quotes in a udev rule, where `|` parts alternatives (udev(7)).
"""

IMAGE = r"(?:baked:)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}(?:@[a-z0-9]{1,48})?"
"""An alias of this harness, an image's id, or baked:NAME."""

PLACEMENT = r"(?:group:)?[A-Za-z0-9_](?:[A-Za-z0-9 ._:/@+=#()-]{0,253}[A-Za-z0-9._:/@+=#()-])?"
"""A keyword, or a placement group's name."""

PROFILE = r"[A-Za-z0-9_+=,.@][A-Za-z0-9_+=,.@-]{0,127}"
"""The name of an instance profile (IAM and STS quotas, name requirements)."""

OWNER = r"[^\x00-/:-@\[-^`{-\x7f](?:[^\x00-\x1f!\"$%'*;<>?\[-^`{-\x7f]{0,253}[^\x00-(*-\-/:-@\[-^`{-\x7f])?"
"""A person or team, as the value of a tag: letters of any script, digits, and few signs between them."""

SITE = r"[a-z0-9][a-z0-9.-]{0,62}"
"""The name of a site of a hub."""

BENCH = r"[a-z][a-z0-9-]{0,15}"
"""The name of a bench, which may be one of a later version."""

BASELINE = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
"""The name of a group of runs."""

PATH = r"[^\s{}\x00-\x1f\x7f-](?:[^{}\x00-\x1f\x7f]{0,1022}[^\s{}\x00-\x1f\x7f])?"
"""A path or URL that a program is given as an argument: no option, no template, no control characters."""

LOGIN = r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}"
"""A login user of the operator's own host: directories have users such as first.last@example.org."""

EVIDENCE_FILE = r"[A-Za-z0-9_][A-Za-z0-9._:+@-]{0,126}(?:/[A-Za-z0-9_][A-Za-z0-9._:+@-]{0,126}){0,3}"
"""The path of a file of evidence below its host's folder: no part is hidden, `..` or empty."""

SCHEDULE = r"[a-z0-9][a-z0-9._-]{0,62}"
"""The name of a schedule."""
