"""`image`: bake, list and delete machine images with driver, chrony and linuxptp, for campaigns to start from."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from harness import wiring
from harness.cli import campaign_options, completion, output, progress, run_controls
from harness.errors import ExitCode, RequestError
from harness.model import Outcome, RunRecord, Stage
from harness.model.cloud import BakedImage
from harness.report import table
from harness.report.exit_codes import exit_code_of
from harness.runs import bake
from harness.runs.bake import BakeRequest, BakeResult
from harness.runs.prepare import prepare
from harness.system import settings
from harness.system.settings import Settings

SCHEMA = 1

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def bake_image(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CAMPAIGN|TYPE",
            help="A campaign file, or a type for each architecture (default: the smallest).",
            autocompletion=completion.ec2_types,
        ),
    ] = None,
    region: campaign_options.Region = None,
    image: campaign_options.ImageName = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Its name in campaigns (default: the base image's)."),
    ] = None,
    depth: campaign_options.DepthName = None,
    duration: campaign_options.Duration = None,
    older: Annotated[
        int, typer.Option("--older", min=0, metavar="N", help="How many older images of this name stay.")
    ] = 1,
    json: Json = False,
) -> None:
    """Make an image whose hosts pass, of a host that passed.

    For each architecture, a host is made, configured and qualified as by `run`. The host is anonymised and stopped, and
    its disk becomes an image. A second run qualifies a host made from the image. If that host passes, campaigns can
    start from `image: baked:NAME`, and older images of that name are removed; else the new image is removed. Ctrl-C
    leaves nothing.

    Examples:
        ptp-harness image bake --region eu-north-1
        ptp-harness image bake m7g.large --region eu-north-1 --image debian-13
        ptp-harness image bake campaign.yaml --region eu-north-1 --name al2023-ena
    """
    configuration = settings.load()
    types = targets or list(_smallest_types(region, configuration))
    flags = {"region": region, "image": image, "depth": depth, "bench": "ec2"}
    requested = campaign_options.load_campaign(types, duration=duration, **flags)
    with campaign_options.placing_unknown_types(types):
        campaign = prepare(requested, configuration, wiring.benches(configuration)).campaign
    request = BakeRequest(campaign=campaign, name=name or bake.default_name(campaign), older=older)
    bake.check_request(request, wiring.ec2_types(configuration, campaign.cloud.region).catalogue.types)
    with progress.open_display(campaign.bench) as display:
        controls = run_controls.make_controls(display, describe_resuming=lambda _run: "")
        record, results = bake.bake(request, wiring.bake_context(configuration, controls))
    if json:
        output.emit({"schema": SCHEMA, "run": record.run, "images": [_document(result) for result in results]})
    for line in [line for result in results for line in _lines(record.run, result)]:
        output.say(line)
    for item in record.leftovers:
        output.say(f"LEFT: {item.kind} {item.name} ({item.token}); `ptp-harness sweep --bench ec2 --yes` removes it")
    raise typer.Exit(_exit_code(record, results))


def list_images(region: campaign_options.Region = None, json: Json = False) -> None:
    """List the images that were baked in a Region.

    Each line has the image's name in campaigns, its architecture and id, its base image, and the run in which a host
    made from it passed. An unproven image belongs to a bake that is under way or died: `sweep --bench ec2` removes
    it. An image that is not signed by this controller's key was published elsewhere, or somebody copied the tags:
    campaigns can start from it only by its id.

    Examples:
        ptp-harness image list --region eu-north-1
        ptp-harness image list --region eu-north-1 --json
    """
    region_name, images = wiring.baked_images(region, settings.load())
    if json:
        output.emit({"schema": SCHEMA, "region": region_name, "images": [asdict(image) for image in images]})
        return
    rows = [
        (f"baked:{image.name}", image.architecture, image.ident, image.created[:19], _describe_proof(image))
        for image in images
    ]
    for line in table.align_rows([("IMAGE", "ARCH", "ID", "MADE (UTC)", "FROM"), *rows]) if rows else ():
        output.show(line)
    if not rows:
        output.say(f"no baked images in {region_name}; `ptp-harness image bake` makes one")


def delete(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="baked:NAME for all of that name, or an image's id.")
    ],
    region: campaign_options.Region = None,
) -> None:
    """Remove baked images and their snapshots, and verify it.

    Only baked images that are signed by this controller's key are removed. Hosts that run from one continue to run.

    Examples:
        ptp-harness image delete baked:al2023 --region eu-north-1
        ptp-harness image delete ami-0123456789abcdef0 --region eu-north-1
    """
    region_name, existing = wiring.baked_images(region, settings.load())
    named = [image for image in existing if image.ident in images or f"baked:{image.name}" in images]
    unknown = [name for name in images if not any(name in (image.ident, f"baked:{image.name}") for image in named)]
    if unknown:
        names = ", ".join(sorted({f"baked:{image.name}" for image in existing})) or "none"
        raise RequestError(
            f"{region_name} has no baked image {', '.join(unknown)}",
            next_step=f"there are {names}; `image list`",
        )
    # remove_images() refuses an image without our signature: one is passed to it only if named by its id
    removable = [image for image in named if image.signed or image.ident in images]
    wiring.remove_images(region_name, removable or named)
    for image in named:
        if image not in removable:
            output.say(f"{image.ident} is called baked:{image.name} too, and stays: it is not proven to be ours")
    for image in removable:
        output.say(f"{image.ident} (baked:{image.name}, {image.architecture}) is gone")


def _smallest_types(region: str | None, configuration: Settings) -> Sequence[str]:
    return bake.smallest_with_clock(wiring.ec2_types(configuration, region).catalogue.types)


def _describe_proof(image: BakedImage) -> str:
    proven = f"proven by run {image.proof}" if image.proof else f"nothing proves it yet (run {image.run})"
    proven += "" if image.signed else ", not signed by our key"
    return f"{image.base}, driver {image.driver}, {proven}"


def _lines(first: str, result: BakeResult) -> list[str]:
    """Return the result for one host, for people."""
    verdict = result.host.verdict
    if result.image is None or result.proof is None:
        deciding = result.proof.verdict if result.proof else verdict
        lines = [f"{result.host.name}: no image: {result.why}"]
        if deciding.outcome is not Outcome.PASS:
            lines.append(f"  {deciding.outcome} {deciding.reason}: {deciding.sentence}")
            lines.append(f"  next: `ptp-harness show {result.proof_run or first}`")
        return lines
    before, after = (host.stages.get(Stage.CONFIGURE, 0.0) for host in (result.host, result.proof))
    return [
        f"{result.host.name}: {result.image.ident} is baked:{result.image.name} for {result.image.architecture}, "
        f"proven by run {result.proof_run}: {result.proof.verdict.sentence}",
        f"  configuring a host took {before:.0f} s, and takes {after:.0f} s from it",
        *([f"  removed the images that it replaces: {', '.join(result.retired)}"] if result.retired else []),
        *([f"  the images that it replaces could not be removed: {result.not_retired}"] if result.not_retired else []),
    ]


def _document(result: BakeResult) -> dict[str, Any]:
    return {
        "host": result.host.name,
        "instance_type": result.host.instance_type,
        "outcome": result.outcome.value,
        "image": asdict(result.image) if result.image else None,
        "proof": result.proof_run or None,
        "why": result.why or None,
        "retired": list(result.retired),
        "not_retired": result.not_retired or None,
    }


def _exit_code(record: RunRecord, results: Sequence[BakeResult]) -> ExitCode:
    """Return the exit code by the deciding verdicts, as for a run; an older image that stays counts as left."""
    if any(result.not_retired for result in results):
        return ExitCode.LEFT_RUNNING
    return exit_code_of(record, [result.outcome for result in results])
