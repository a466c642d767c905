"""Load or create the key that signs resources made in EC2. It is created once, readable by its owner alone.

Controllers that share the file (PTP_HARNESS_SIGNING_KEY) can remove each other's leftovers and start hosts from each
other's baked images.
"""

from harness.model.ownership import Signer
from harness.system.key_files import make_key, read_key
from harness.system.settings import Settings

_TITLE = "signing key"
_NEXT = "`openssl rand -hex 32 > FILE` makes one; unset PTP_HARNESS_SIGNING_KEY for a key of this state directory"


def load(settings: Settings) -> Signer:
    """Return the signer with the key file that the settings name, or with the key of the state directory.

    Raises SetupError when the file cannot be read or written, or the key is too short.
    """
    if settings.signing_key is not None:
        return Signer(read_key(settings.signing_key, title=_TITLE, next_step=_NEXT))
    path = settings.state_dir / "ec2" / "signing-key"
    make_key(path, title=_TITLE)
    return Signer(read_key(path, title=_TITLE, next_step=_NEXT))
