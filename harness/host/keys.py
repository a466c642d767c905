"""How are SSH keys made and written down? By ssh-keygen, for nobody's eyes but ours."""

from pathlib import Path

from harness.system import proc

TYPE = "ssh-ed25519"
_DEADLINE_S = 30.0


def generate(path: Path, comment: str) -> None:
    """Make a key pair without a passphrase: `path`, and its public part in `path`.pub. Both are ours alone (0600)."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    proc.run(argv, timeout_s=_DEADLINE_S, umask=0o077)


def public_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def public_key(path: Path) -> str:
    """The type and the key of a pair, without its comment."""
    return " ".join(public_file(path).read_text().split()[:2])


def known_hosts_line(address: str, port: int, key: str) -> str:
    """The line of known_hosts(5) by which a host with this public key is known."""
    return f"{address if port == 22 else f'[{address}]:{port}'} {key}"
