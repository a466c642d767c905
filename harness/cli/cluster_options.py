"""Define the options that the commands of `cluster` share, and make connections of them."""

from typing import Annotated

import typer

from harness import __version__
from harness.cli import output
from harness.cluster.connection import Connection, connect, has_api
from harness.cluster.jobs import QUEUE_API, PodOptions
from harness.errors import RequestError
from harness.untrusted import names
from harness.untrusted.input_checks import shorten_value

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
HostImage = Annotated[
    str | None, typer.Option("--host-image", metavar="NAME", help="The image of the hosts: al2023, ... (EC2).")
]
HostsPerPod = Annotated[
    int | None,
    typer.Option("--hosts-per-pod", min=1, max=64, metavar="N", help="Hosts at once in a pod (EC2: 8, lab: 1)."),
]
IncludeDestructive = Annotated[
    bool,
    typer.Option("--include-destructive", help="Also what does harm, in a namespace of its own that is removed again."),
]
Queue = Annotated[
    str | None,
    typer.Option("--queue", metavar="NAME", help="The queue of Kueue (LocalQueue) in which the Jobs of suites wait."),
]
CoordinatorQueue = Annotated[
    str | None,
    typer.Option("--coordinator-queue", metavar="NAME", help="Another queue, in which the coordinator waits."),
]
PriorityClass = Annotated[
    str | None, typer.Option("--priority-class", metavar="NAME", help="The PriorityClass of its pods.")
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The name of the run.")]

_OBJECT = r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
POLICIES = ("IfNotPresent", "Always", "Never")


def open_connection(context: str | None, namespace: str | None) -> Connection:
    """Choose the cluster, and say which one it is before anything is asked or made."""
    connection = connect(context, namespace)
    output.say(f"cluster: {connection}")
    return connection


def make_pod_options(
    image: str | None,
    registry: str | None,
    pull: str,
    *,
    lab_cache: str | None = None,
    queue: str | None = None,
    coordinator_queue: str | None = None,
    priority_class: str | None = None,
) -> PodOptions:
    """Make the options of the pods. Raises RequestError where no image is named, or a value is none of its kind."""
    if not (image or registry):
        raise RequestError(
            "no image is named for the pods",
            next_step="--image REGISTRY/ptp-harness:VERSION, or --registry REGISTRY; "
            "`ptp-harness cluster image` builds one",
        )
    if pull not in POLICIES:
        raise RequestError(f"--pull {pull} is no policy", next_step=f"one of: {', '.join(POLICIES)}")
    if queue is not None and queue == coordinator_queue:
        raise RequestError(
            f"the queue {shorten_value(queue)} is that of coordinators and that of suites, which they wait for",
            next_step="two queues, so that coordinators cannot take all that their suites need",
        )
    named = {"--queue": queue, "--coordinator-queue": coordinator_queue, "--priority-class": priority_class}
    named["--lab-cache"] = lab_cache
    for flag, name in named.items():
        if name is not None and not names.fits(_OBJECT, name):
            raise RequestError(
                f"{flag} {shorten_value(name)} is no name of an object", next_step="small letters, digits, - and ."
            )
    return PodOptions(
        image=image or make_image_name(str(registry)),
        pull=pull,
        queue=queue,
        coordinator_queue=coordinator_queue,
        priority_class=priority_class,
        lab_cache=lab_cache,
    )


def make_image_name(registry: str) -> str:
    """Return the name of the image of this version in a registry."""
    return f"{registry.rstrip('/')}/ptp-harness:{__version__}"


def require_queue(connection: Connection, options: PodOptions) -> None:
    """Raise RequestError where pods are to wait in a queue, and the cluster has no Kueue that would let them go."""
    queue = options.queue or options.coordinator_queue
    if queue is not None and not has_api(connection, QUEUE_API):
        raise RequestError(
            f"the cluster {connection.context} has no Kueue: a run in the queue {queue} would never begin",
            next_step="without a queue, or install Kueue",
        )
