"""`profiles`: list the limits of standards, regulations and vendors, or print those of one."""

from typing import Annotated

import typer
import yaml

from harness import units
from harness.campaign.profile_format import write_profile
from harness.campaign.profiles import Profile, ProfileLimit
from harness.cli import output
from harness.report import table
from harness.system import profile_files


def profiles(
    name: Annotated[
        str | None, typer.Argument(metavar="PROFILE", help="Print this one, a name or a file, as a file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """List the limits of standards, regulations and vendors.

    A report says of each whether the clock meets it, exceeds it, or cannot show it. A campaign whose `limits` name one
    as `profile` judges by it: `limits: {profile: mifid-ii-hft}`. With PROFILE, print one as a file that can be changed,
    and named instead: `limits: {profile: mine.yaml}`.

    Examples:
        ptp-harness profiles
        ptp-harness profiles mifid-ii-hft > mine.yaml
        ptp-harness profiles g8272-prtc-a --json
    """
    if name is not None:
        document = write_profile(profile_files.read_profile(name))
        if json:
            output.emit(document)
        else:
            output.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110))
        return
    standards = profile_files.load_standards()
    if json:
        output.emit([write_profile(profile) for profile in standards])
        return
    rows = [("PROFILE", "AGAINST", "LIMITS", "TITLE"), *map(_row, standards)]
    output.show("\n".join(table.align_rows(rows)))


def _row(profile: Profile) -> tuple[str, str, str, str]:
    limits = ", ".join(map(_describe_limit, profile.limits))
    return profile.name, profile.reference.value, limits, profile.title


def _describe_limit(limit: ProfileLimit) -> str:
    return limit.kind.value if limit.limit_ns is None else f"{limit.kind} {units.ns(limit.limit_ns)}"
