"""`campaign schema` and `campaign keys` print the keys of campaign files; `campaign check` validates a file."""

from typing import Annotated

import typer

from harness import wiring
from harness.campaign import campaign_file, key_table, run_plan
from harness.campaign.campaign import Campaign
from harness.cli import campaign_options, output
from harness.errors import RequestError
from harness.model.bench_traits import BenchName, traits_of
from harness.system import settings
from harness.system.settings import Settings


def schema() -> None:
    """Print the JSON schema of campaign files.

    Begin a campaign file with the line "# yaml-language-server: $schema=campaign.schema.json", and an editor that
    knows the schema offers the keys and marks mistakes.

    Examples:
        ptp-harness campaign schema
        ptp-harness campaign schema > campaign.schema.json
    """
    output.emit(campaign_file.json_schema())


def keys(
    names: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Keys or groups; default: all.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/campaign-file.md.")] = False,
) -> None:
    """Explain the keys of campaign files: values, defaults, meanings.

    Examples:
        ptp-harness campaign keys
        ptp-harness campaign keys --markdown
        ptp-harness campaign keys measure limits.offset_ns
    """
    rows = key_table.list_keys()
    chosen = [row for row in rows if not names or any(f"{row.key}.".startswith(f"{name}.") for name in names)]
    if not chosen:
        top = ", ".join(row.key for row in rows if len(row.path) == 1)
        raise RequestError(f"there is no key {', '.join(names or ())}", next_step=f"the keys are {top}")
    if markdown:
        output.write("\n".join(key_table.markdown(group) for group in key_table.group_keys(chosen).values()))
    else:
        output.write("".join(f"{key_table.describe_key(row)}\n" for row in chosen))


def check(file: Annotated[str, typer.Argument(metavar="FILE", help="A campaign file.")]) -> None:
    """Name every mistake in a campaign file, with its line.

    Exit code 2 if there is a mistake. Types are checked against the bench; types of EC2 against the list that
    `types` or a run cached last, so that no credentials are needed. Hosts of an inventory are not checked, since
    reading an inventory runs its code: `plan` does that.

    Examples:
        ptp-harness campaign check campaign.yaml
    """
    requested = campaign_options.read_campaign_file(file, {})
    with campaign_options.placing_unknown_types([file]):
        unchecked = _check_types(requested, settings.load())
    hosts = [f"{len(requested.instance_types)} hosts"] if requested.instance_types else []
    hosts += ["the hosts that select chooses"] if requested.select else []
    output.show(f"{file} is valid: bench {requested.bench}, {' and '.join(hosts)}, depth {requested.depth}")
    if unchecked:
        output.say(unchecked)


def _check_types(requested: Campaign, configuration: Settings) -> str:
    """Check that the bench has the types; return why they were not checked, or an empty string."""
    if not traits_of(requested.bench).makes_hosts:
        inventory = requested.inventory
        return f"its hosts were not checked: that would run the code of the inventory {inventory}, as `plan` does"
    if requested.bench is not BenchName.EC2:
        types = wiring.bench(requested.bench, configuration, requested.inventory, requested.cloud).types()
        run_plan.check_types(requested.instance_types, list(types), requested.bench)
        return ""
    region = requested.cloud.region
    if region is None:
        return "its types were not checked: the file names no region"
    cached_types = [name for name, _ in wiring.ec2_cached_types(configuration, region)]
    if not cached_types:
        fetches = f"`ptp-harness types --region {region}` fetches one"
        return f"its types were not checked: no list of the types of {region} is kept here; {fetches}"
    run_plan.check_types(requested.instance_types, cached_types, requested.bench)
    return ""
