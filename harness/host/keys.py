"""Make SSH keys by ssh-keygen, readable for our user alone, and write lines of known_hosts."""

from pathlib import Path

from harness.system import proc

TYPE = "ssh-ed25519"
_DEADLINE_S = 30.0


def generate(path: Path, comment: str) -> None:
    """Make a key pair without a passphrase: `path`, and its public part in `path`.pub, both with mode 0600."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    proc.run(argv, timeout_s=_DEADLINE_S, umask=0o077)


def public_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def read_public_key(path: Path) -> str:
    """Read the type and the public key of a pair, without the comment."""
    return " ".join(public_file(path).read_text().split()[:2])


def known_hosts_line(address: str, port: int, key: str) -> str:
    """Write the line of known_hosts(5) for a host with this public key."""
    return f"{address if port == 22 else f'[{address}]:{port}'} {key}"
