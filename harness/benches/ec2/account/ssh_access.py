"""Decide how SSH reaches a host: from the controller's one address, or through Session Manager with no open port."""

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable

from harness.errors import SetupError
from harness.model.controller_address import CHECK_IP, CHECK_IP_S, MOST_BYTES, parse_network
from harness.model.ec2_enums import Access

_AWS_DOCS = "https://docs.aws.amazon.com"
SESSION_PROGRAMS = {
    "aws": f"{_AWS_DOCS}/cli/latest/userguide/getting-started-install.html",
    "session-manager-plugin": (
        f"{_AWS_DOCS}/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
    ),
}
"""The programs by which SSH goes through Session Manager, and the pages that say how to install them."""

_WITHOUT_AGENT = re.compile(r"debian-|RHEL-", re.IGNORECASE)
"""The beginning of the names of images that their makers publish without an SSM agent."""


def own_cidr(url: str = CHECK_IP) -> str:
    """Look up the controller's public IPv4 address, as a /32 network. Raises SetupError when the service fails."""
    remedy = "say it in the campaign: `ec2: {controller_cidr: 192.0.2.7/32}`, or use `ec2: {access: ssm}`"
    try:
        with urllib.request.urlopen(url, timeout=CHECK_IP_S) as answer:
            return parse_network(answer.read(MOST_BYTES))
    except ValueError as error:
        raise SetupError(f"{url} says that we are {error}", next_step=remedy) from None
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise SetupError(f"{url} does not say which address we have: {reason}", next_step=remedy) from error


def ssh_options(access: Access, instance_id: str, region: str) -> tuple[str, ...]:
    """Return additional arguments for ssh: none, or the ProxyCommand of a session (Session Manager's documentation)."""
    if access is Access.SSH:
        return ()
    session = f"aws ssm start-session --region {region} --target {instance_id} --document-name AWS-StartSSHSession"
    return ("-o", f"ProxyCommand={session} --parameters portNumber=%p")


def missing_session_programs() -> list[str]:
    """Return the programs for Session Manager that are not on PATH."""
    return [program for program in SESSION_PROGRAMS if shutil.which(program) is None]


def check_session_programs() -> None:
    """Raise SetupError if a program for Session Manager is missing: no host could be reached."""
    if missing := missing_session_programs():
        raise SetupError(
            f"{' and '.join(missing)} not found on PATH: with `access: ssm`, SSH goes through Session Manager",
            next_step=describe_installation(missing),
        )


def describe_installation(programs: Iterable[str]) -> str:
    """Name the page about the installation of each program for Session Manager."""
    return "; ".join(f"{program}: {SESSION_PROGRAMS[program]}" for program in programs)


def remark_on_agent(ami: str, title: str) -> str | None:
    """Return a remark on an image that, by its name, has no SSM agent; None for every other image."""
    if _WITHOUT_AGENT.match(title) is None:
        return None
    return f"{ami} is {title}: such images come without an SSM agent, and Session Manager then reaches no host"
