"""Define the options that the commands of `cluster` share, and make connections of them."""

from typing import Annotated

import typer

from harness import __version__
from harness.cli import output
from harness.cluster.connection import Connection, connect
from harness.cluster.jobs import PodOptions
from harness.errors import RequestError
from harness.untrusted import names
from harness.untrusted.plain_text import printable

Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="The context of the kubeconfig (default: its current one)."),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        metavar="NAME",
        envvar="K8S_NAMESPACE",
        help="The namespace (default: that of the context).",
    ),
]
Image = Annotated[
    str | None,
    typer.Option("--image", metavar="IMAGE", envvar="PTP_HARNESS_IMAGE", help="The image of the pods, with its tag."),
]
Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="HOST/PATH",
        envvar="PTP_HARNESS_REGISTRY",
        help="Where the image of this version is, if --image does not name one.",
    ),
]
Pull = Annotated[
    str, typer.Option("--pull", metavar="POLICY", help="When nodes pull the image: IfNotPresent, Always or Never.")
]
LabCache = Annotated[
    str | None,
    typer.Option(
        "--lab-cache",
        metavar="CLAIM",
        envvar="PTP_HARNESS_LAB_CLAIM",
        help="The claim of the volume with the lab's parts (bench lab).",
    ),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The name of the run.")]

_OBJECT_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
POLICIES = ("IfNotPresent", "Always", "Never")


def open_connection(context: str | None, namespace: str | None) -> Connection:
    """Choose the cluster, and say which one it is before anything is asked or made."""
    connection = connect(context, namespace)
    output.say(f"cluster: {connection}")
    return connection


def make_pod_options(image: str | None, registry: str | None, pull: str, *, lab_cache: str | None = None) -> PodOptions:
    """Make the options of the pods. Raises RequestError where no image is named, the policy is none, or the claim."""
    if not (image or registry):
        raise RequestError(
            "no image is named for the pods",
            next_step="--image REGISTRY/ptp-harness:VERSION, or --registry REGISTRY; `make image` builds one",
        )
    if pull not in POLICIES:
        raise RequestError(f"--pull {pull} is no policy", next_step=f"one of: {', '.join(POLICIES)}")
    if lab_cache is not None and not names.fits(_OBJECT_NAME, lab_cache):
        raise RequestError(
            f"--lab-cache {printable(lab_cache)[:80]} is no name of a claim", next_step="`kubectl get pvc` lists them"
        )
    named = image or f"{str(registry).rstrip('/')}/ptp-harness:{__version__}"
    return PodOptions(image=named, pull=pull, lab_cache=lab_cache)
