"""Decide how SSH reaches a host: from the controller's one address, or through Session Manager with no open port."""

import urllib.error
import urllib.request

from harness.errors import SetupError
from harness.model.controller_address import CHECK_IP, CHECK_IP_S, MOST_BYTES, parse_network
from harness.model.ec2_enums import Access


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
