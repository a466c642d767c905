"""Write a campaign as a text that an object of a cluster can hold, and read it again."""

import base64
import gzip
import json

from harness.campaign import stored
from harness.campaign.campaign import Campaign
from harness.errors import RequestError

MOST_ANNOTATION_BYTES = 48 * 1024
"""With the Job and a pod that has it too, the objects of a run stay below 128 KiB."""


def encode_campaign(campaign: Campaign) -> str:
    """Write a campaign for an annotation. Raises RequestError for one that is too long."""
    text = base64.b64encode(gzip.compress(json.dumps(stored.to_document(campaign)).encode(), mtime=0)).decode()
    if len(text) > MOST_ANNOTATION_BYTES:
        raise RequestError(
            f"the campaign takes {len(text)} bytes, compressed, and an object of the cluster holds "
            f"{MOST_ANNOTATION_BYTES}",
            next_step="select types by conditions, or divide it into several campaigns",
        )
    return text


def decode_campaign(text: str) -> Campaign:
    """Read a campaign that `encode_campaign` wrote. Raises ValueError for any other text."""
    return stored.from_document(json.loads(gzip.decompress(base64.b64decode(text, validate=True))))
