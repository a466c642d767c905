"""`image`: machine images of our own, with driver, chrony and linuxptp in place, for campaigns to start from."""

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
        str | None, typer.Option("--name", metavar="NAME", help="What campaigns call it (default: the image's name).")
    ] = None,
    depth: campaign_options.DepthName = None,
    duration: campaign_options.Duration = None,
    older: Annotated[
        int, typer.Option("--older", min=0, metavar="N", help="How many older ones of this name stay.")
    ] = 1,
    json: Json = False,
) -> None:
    """Make an image whose hosts pass, of a host that passed.

    One for each architecture: a host is made, configured and qualified as `run` does it; what belongs to it alone is
    removed, it is stopped, and its disk becomes an image. A second run qualifies a host made from that. Only then is
    the image there for campaigns, as `image: baked:NAME`, and older ones of the name go. One that does not pass is
    removed. Ctrl-C leaves nothing.

    Examples:
        ptp-harness image bake --region eu-north-1
        ptp-harness image bake m7g.large --region eu-north-1 --image debian-13
        ptp-harness image bake campaign.yaml --region eu-north-1 --name al2023-ena
    """
    configuration = settings.load()
    named = targets or list(_on(region, configuration))
    flags = {"region": region, "image": image, "depth": depth, "bench": "ec2"}
    requested = campaign_options.load_campaign(named, duration=duration, **flags)
    with campaign_options.placing_unknown_types(named):
        asked = prepare(requested, configuration, wiring.benches(configuration)).campaign
    order = BakeRequest(campaign=asked, name=name or bake.default_name(asked), older=older)
    bake.check_request(order, wiring.ec2_types(configuration, asked.cloud.region).catalogue.types)
    with progress.open_display(asked.bench) as news:
        controls = run_controls.make_controls(news, describe_resuming=lambda _run: "")
        record, results = bake.bake(order, wiring.bake_context(configuration, controls))
    if json:
        output.emit({"schema": SCHEMA, "run": record.run, "images": [_document(one) for one in results]})
    for line in [line for one in results for line in _lines(record.run, one)]:
        output.say(line)
    for one in record.leftovers:
        output.say(f"LEFT: {one.kind} {one.name} ({one.token}); `ptp-harness sweep --bench ec2 --yes` removes it")
    raise typer.Exit(_exit_code(record, results))


def list_images(region: campaign_options.Region = None, json: Json = False) -> None:
    """List the images that were baked in a Region.

    What campaigns call each, its architecture and id, what it was made of, and the run in which a host made from it
    passed. One that nothing proves is of a bake under way, or one that died: `sweep --bench ec2` removes it. One that
    is not signed by this controller's key was published elsewhere, or only carries such tags: campaigns start from it
    by its id alone.

    Examples:
        ptp-harness image list --region eu-north-1
        ptp-harness image list --region eu-north-1 --json
    """
    where, images = wiring.baked_images(region, settings.load())
    if json:
        output.emit({"schema": SCHEMA, "region": where, "images": [asdict(one) for one in images]})
        return
    rows = [(f"baked:{one.name}", one.architecture, one.ident, one.created[:19], _standing(one)) for one in images]
    for line in table.align_rows([("IMAGE", "ARCH", "ID", "MADE (UTC)", "FROM"), *rows]) if rows else ():
        output.show(line)
    if not rows:
        output.say(f"no baked images in {where}; `ptp-harness image bake` makes one")


def delete(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="baked:NAME for all of that name, or an image's id.")
    ],
    region: campaign_options.Region = None,
) -> None:
    """Remove baked images and their snapshots, and verify it.

    Only images that were baked, and are signed by this controller's key; hosts that run from one go on.

    Examples:
        ptp-harness image delete baked:al2023 --region eu-north-1
        ptp-harness image delete ami-0123456789abcdef0 --region eu-north-1
    """
    where, there = wiring.baked_images(region, settings.load())
    named = [one for one in there if one.ident in images or f"baked:{one.name}" in images]
    unknown = [word for word in images if not any(word in (one.ident, f"baked:{one.name}") for one in named)]
    if unknown:
        names = ", ".join(sorted({f"baked:{one.name}" for one in there})) or "none"
        raise RequestError(
            f"no image that was baked in {where} is {', '.join(unknown)}", next_step=f"there are {names}; `image list`"
        )
    meant = [one for one in named if one.signed or one.ident in images]  # by its id, one that is not ours is refused
    wiring.remove_images(where, meant or named)
    for one in named:
        if one not in meant:
            output.say(f"{one.ident} is called baked:{one.name} too, and stays: it is not proven to be ours")
    for one in meant:
        output.say(f"{one.ident} (baked:{one.name}, {one.architecture}) is gone")


def _on(region: str | None, configuration: Settings) -> Sequence[str]:
    return bake.smallest_with_clock(wiring.ec2_types(configuration, region).catalogue.types)


def _standing(one: BakedImage) -> str:
    proven = f"proven by run {one.proof}" if one.proof else f"nothing proves it yet (run {one.run})"
    proven += "" if one.signed else ", not signed by our key"
    return f"{one.base}, driver {one.driver}, {proven}"


def _lines(first: str, one: BakeResult) -> list[str]:
    """The result for one host, for people."""
    verdict = one.host.verdict
    if one.image is None or one.proof is None:
        deciding = one.proof.verdict if one.proof else verdict
        lines = [f"{one.host.name}: no image: {one.why}"]
        if deciding.outcome is not Outcome.PASS:
            lines.append(f"  {deciding.outcome} {deciding.reason}: {deciding.sentence}")
            lines.append(f"  next: `ptp-harness show {one.proof_run or first}`")
        return lines
    before, after = (host.stages.get(Stage.CONFIGURE, 0.0) for host in (one.host, one.proof))
    return [
        f"{one.host.name}: {one.image.ident} is baked:{one.image.name} for {one.image.architecture}, proven by run "
        f"{one.proof_run}: {one.proof.verdict.sentence}",
        f"  configuring a host took {before:.0f} s, and takes {after:.0f} s from it",
        *([f"  removed what it takes the place of: {', '.join(one.retired)}"] if one.retired else []),
        *([f"  what it takes the place of stays: {one.not_retired}"] if one.not_retired else []),
    ]


def _document(one: BakeResult) -> dict[str, Any]:
    return {
        "host": one.host.name,
        "instance_type": one.host.instance_type,
        "outcome": one.outcome.value,
        "image": asdict(one.image) if one.image else None,
        "proof": one.proof_run or None,
        "why": one.why or None,
        "retired": list(one.retired),
        "not_retired": one.not_retired or None,
    }


def _exit_code(record: RunRecord, results: Sequence[BakeResult]) -> ExitCode:
    """As of a run, by the verdicts that decided; an image that should have gone is left too."""
    if any(one.not_retired for one in results):
        return ExitCode.LEFT_RUNNING
    return exit_code_of(record, [one.outcome for one in results])
