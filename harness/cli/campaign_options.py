"""Read the arguments and flags of `plan` and `run`: a campaign file or types, and flags that override the file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from harness.campaign import campaign
from harness.campaign.campaign import Campaign
from harness.campaign.choices import Keep
from harness.campaign.mistakes import COMMAND_LINE
from harness.campaign.run_plan import UnknownTypesError, place_unknown_types
from harness.cli import completion
from harness.model import Depth
from harness.model.bench_traits import BENCHES
from harness.model.disturbances import Disturbance
from harness.system import profile_files
from harness.system.text_files import read_text

_TARGETS = typer.Argument(
    metavar="CAMPAIGN|TYPE",
    help="A campaign file, or one or more instance types (of your own hosts: their names, or those of groups).",
    autocompletion=completion.targets,
)
Targets = Annotated[list[str], _TARGETS]
TargetsUnlessJoined = Annotated[list[str] | None, _TARGETS]
BenchName = Annotated[
    str | None,
    typer.Option("--bench", metavar="NAME", help=f"Where hosts come from: {', '.join(BENCHES)} (default: lab)."),
]
Inventory = Annotated[
    str | None,
    typer.Option("--inventory", "-i", metavar="FILE", help="Your own hosts, as Ansible has them (bench: hosts)."),
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="NAME", help="The Region of EC2 (bench: ec2).", autocompletion=completion.regions),
]
ImageName = Annotated[
    str | None,
    typer.Option("--image", metavar="NAME", help="al2023, ubuntu-24.04, debian-13, ... or ami-... (default: al2023)."),
]
DepthName = Annotated[
    Depth | None,
    typer.Option(
        "--depth",
        help="quick: until chrony follows; standard: measured too; full: rebooted, and all again (default: standard).",
    ),
]
Disturb = Annotated[
    list[Disturbance] | None,
    typer.Option("--disturb", metavar="NAME", help="A disturbance to try with --depth full, such as cpu-load."),
]
KeepWhich = Annotated[
    Keep | None,
    typer.Option(
        "--keep", help="Hosts that stay at the end: none, all that passed, or those you choose (default: none)."
    ),
]
Parallel = Annotated[int | None, typer.Option("--parallel", min=1, metavar="N", help="Hosts at once (lab: 2).")]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Change nothing on hosts; judge what is there.")]
Duration = Annotated[
    str | None, typer.Option("--duration", metavar="60s", help="How long to measure each host (lab: 60s).")
]


def load_campaign(targets: list[str], **flags: Any) -> Campaign:
    """Return the campaign that the arguments and flags request. Raises RequestError that names every mistake."""
    given_flags = _choose_given(flags)
    if _is_file(targets):
        return read_campaign_file(targets[0], given_flags)
    return _make_campaign_of_types(targets, given_flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCampaign:
    """The text of a campaign to submit. `where`: the file that it comes from, or the command line.

    `as_in_file`: whether the lines of the text are those of the file.
    """

    text: str
    where: str
    as_in_file: bool


def write_campaign(targets: list[str], **flags: Any) -> WrittenCampaign:
    """Write the campaign that the arguments and flags request as the text of a campaign file.

    A file without flags stays as it is: a service then names its mistakes by their lines. Anything else is checked here
    first, and written as JSON. Raises RequestError.
    """
    given_flags = _choose_given(flags)
    if not _is_file(targets):
        load_campaign(targets, **flags)
        written = {"instance_types": targets, **given_flags}
        return WrittenCampaign(text=_write_json(written), where=COMMAND_LINE, as_in_file=False)
    name, text = targets[0], _read_text(targets[0])
    if not given_flags:
        return WrittenCampaign(text=text, where=name, as_in_file=True)
    load_campaign(targets, **flags)
    of_file, _ = campaign.load_file(text, where=name)
    merged = campaign.merge_flags(of_file, given_flags)
    return WrittenCampaign(text=_write_json(merged), where=name, as_in_file=False)


def _write_json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, default=str) + "\n"


def _choose_given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, as the keys of a campaign file."""
    given_flags = {key: value for key, value in flags.items() if value is not None and value is not False}
    if "inventory" in given_flags:
        given_flags.setdefault("bench", "hosts")
    if "region" in given_flags:
        given_flags.setdefault("bench", "ec2")
    if "duration" in given_flags:
        given_flags["measure"] = {"duration": given_flags.pop("duration")}
    return given_flags


def _is_file(targets: Sequence[str]) -> bool:
    return len(targets) == 1 and (targets[0].endswith((".yaml", ".yml")) or "/" in targets[0])


def _make_campaign_of_types(targets: list[str], flags: Mapping[str, Any]) -> Campaign:
    return campaign.from_mapping({"instance_types": tuple(targets), **flags})


def read_campaign_file(name: str, flags: Mapping[str, Any]) -> Campaign:
    """Read a campaign file. Raises RequestError when it cannot be read, or with every mistake in it."""
    return campaign.from_yaml(_read_text(name), where=name, flags=flags, read_profile=profile_files.read_profile)


def replace_limits(judged: Campaign, name: str) -> Campaign:
    """Replace a campaign's limits by those of a campaign file. Raises RequestError."""
    limits = campaign.limits_from_yaml(
        _read_text(name), where=name, bench=judged.bench, read_profile=profile_files.read_profile
    )
    return replace(judged, requirements=limits.requirements, profiles=limits.profiles)


@contextmanager
def placing_unknown_types(targets: Sequence[str]) -> Iterator[None]:
    """Add the file and line of each unknown type to an UnknownTypesError, where the targets are a campaign file."""
    try:
        yield
    except UnknownTypesError as error:
        if not _is_file(targets):
            raise
        written, places = campaign.load_file(_read_text(targets[0]), where=targets[0])
        raise place_unknown_types(error, written.get("instance_types") or (), places) from error


def _read_text(name: str) -> str:
    return read_text(name, kind="campaign", title="the campaign file")
