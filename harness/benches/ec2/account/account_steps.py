"""List the steps by which a person proves with a real account what no test can: `doctor --bench ec2 --live`."""

from collections.abc import Sequence
from dataclasses import dataclass

LEGACY_TYPE, GROUPED_TYPE, CLOCKLESS_TYPE = "m7i.large", "c8g.large", "t3.micro"
GROUPED_REGION = "eu-west-1"
TAGS = "ptp-harness*"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStep:
    """A command line, the result to expect, and the minutes that it takes; prices are of on-demand hours."""

    title: str
    command: str
    expect: str
    minutes: int


def steps(region: str) -> Sequence[AccountStep]:
    """Return the steps in order. Steps of 0 minutes are free; each other step costs a few cents at most."""
    return (
        AccountStep(
            title="what it will cost",
            command=f"ptp-harness plan {LEGACY_TYPE} --bench ec2 --region {region}",
            expect="a zone, the image, a price per hour, quota enough, and whether a placement group is made",
            minutes=0,
        ),
        AccountStep(
            title="one type from nothing to a verdict",
            command=f"ptp-harness run {LEGACY_TYPE} --bench ec2 --region {region} --depth quick",
            expect="PASS synchronised; SSH answers some 10 s after the launch; released 1 of 1, verified",
            minutes=3,
        ),
        AccountStep(
            title="while it runs, in a second terminal: what is made is closed, tagged, and ends by itself",
            command=(
                f"aws ec2 describe-instances --region {region} --filters Name=tag-key,Values='{TAGS}' "
                "--query 'Reservations[].Instances[].[InstanceId,State.Name,MetadataOptions.HttpTokens,Tags]'"
            ),
            expect="running, required, and the tags of run, host, token, owner and expiry",
            minutes=0,
        ),
        AccountStep(
            title="a type without a clock",
            command=f"ptp-harness run {CLOCKLESS_TYPE} --bench ec2 --region {region} --depth quick",
            expect="UNSUPPORTED no_phc with the driver's own word, or INCONCLUSIVE host_not_precision; never FAIL",
            minutes=2,
        ),
        AccountStep(
            title="a Region that gives the clock in precision-time placement groups alone",
            command=f"ptp-harness run {GROUPED_TYPE} --bench ec2 --region {GROUPED_REGION} --depth quick",
            expect="PASS; `show` says that the host is in a precision-time placement group",
            minutes=3,
        ),
        AccountStep(
            title="interrupted: Ctrl-C once the line says that the instance runs",
            command=f"ptp-harness run {LEGACY_TYPE} --bench ec2 --region {region} --depth quick",
            expect="exit code 130 and released 1 of 1, verified",
            minutes=1,
        ),
        AccountStep(
            title="nothing is left",
            command="ptp-harness sweep",
            expect="nothing is left; the command of the third step lists terminated instances alone",
            minutes=0,
        ),
    )


def text(region: str) -> str:
    """Format the steps as lines for a terminal."""
    lines = [
        f"Seven steps in {region}, {sum(step.minutes for step in steps(region))} minutes of waiting, a few cents:",
        "",
    ]
    for number, step in enumerate(steps(region), start=1):
        cost = f"{step.minutes} min" if step.minutes else "free"
        lines += [f"{number}. {step.title} ({cost})", f"   $ {step.command}", f"   expect: {step.expect}", ""]
    return "\n".join(lines)
