"""`watch add`, `watch remove` and `watch list`: which clocks are watched all the time."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from harness import units, wiring
from harness.cli import campaign_options, completion, output
from harness.errors import RequestError
from harness.model.bench_traits import BenchName
from harness.report.table import align_rows
from harness.system import settings
from harness.untrusted.input_checks import shorten_value

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
_LEAST_S, _MOST_S = 0.2, 60.0
_SOURCES = ("--inventory FILE", "--kept RUN", "--ec2-tag KEY=VALUE")


def add(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST",
            help="ADDRESS or USER@ADDRESS:PORT; else some hosts of the inventory, the run or the tag.",
            autocompletion=completion.watched_hosts,
        ),
    ] = None,
    inventory: campaign_options.Inventory = None,
    kept: Annotated[
        str | None,
        typer.Option("--kept", metavar="RUN", help="Hosts that were kept of a run.", autocompletion=completion.runs),
    ] = None,
    ec2_tag: Annotated[
        str | None, typer.Option("--ec2-tag", metavar="KEY=VALUE", help="Running instances of EC2 with this tag.")
    ] = None,
    region: campaign_options.Region = None,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="The login of --ec2-tag.")] = "ec2-user",
    key: Annotated[
        str | None, typer.Option("--key", metavar="FILE", help="The SSH key, as it is named on workers.")
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=_LEAST_S, max=_MOST_S, metavar="SECONDS", help="Between two samples.")
    ] = 1.0,
    limits: Annotated[
        str | None, typer.Option("--limits", metavar="FILE", help="A campaign file whose limits count.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="A profile of `profiles` whose limits count.")
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option("--weight", min=0.01, max=1000.0, help="What it costs a worker (default: by its interval)."),
    ] = None,
    json: Json = False,
) -> None:
    """Watch hosts' clocks, until `watch remove`.

    How each host is reached is resolved now: its address, its login, and its host key, which has to be known already.
    Workers (`watch worker`) reach it by SSH, and sample it each interval. A host that is watched already stays as it
    is. Limits are those of the bench, unless a campaign file or a profile names others.

    Examples:
        ptp-harness watch add --kept k3f9
        ptp-harness watch add -i hosts.yaml timeservers --profile mifid-ii-hft
        ptp-harness watch add admin@10.0.0.5 --key ~/.ssh/clocks --interval 2
        ptp-harness watch add --ec2-tag role=trading --limits limits.yaml
    """
    from harness.store.watch_streams import NewStream, WatchStreams
    from harness.watch import found_hosts

    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    _require_one_source(hosts or [], inventory, kept, ec2_tag)
    bench = BenchName.HOSTS.value
    if kept is not None:
        line = ledger.find(kept)
        bench = line.bench
        source = wiring.bench(bench, configuration, ledger.campaign(line.run).get("inventory"), ledger=ledger)
        found = found_hosts.find_kept(ledger, source, line.run, hosts or [])
    elif inventory is not None:
        source = wiring.bench(bench, configuration, inventory)
        found = found_hosts.find_in_inventory(source, inventory, hosts or [])
    elif ec2_tag is not None:
        bench = BenchName.EC2.value
        instances, region = _find_tagged(ec2_tag, region)
        found = found_hosts.find_tagged(instances, region, user=user, key=key, wanted=hosts or [])
    else:
        found = found_hosts.find_named(hosts or [], key)
    judged_by, notes = _read_limits(bench, limits, profile)
    share = weight if weight is not None else max(0.05, round(1 / interval, 3))
    streams = [
        NewStream(stream=name, source=each, limits=judged_by, interval_s=interval, weight=share) for name, each in found
    ]
    there = WatchStreams(ledger.database).add(streams)
    added = [stream.stream for stream in streams if stream.stream not in there]
    if json:
        output.emit({"added": added, "there_already": there})
        return
    for name in there:
        output.say(f"{name} is watched already, and stays as it is")
    output.say(f"{len(added)} added: {', '.join(added)}" if added else "nothing is added")
    for note in notes if added else ():
        output.say(f"not judged as in a run: {note}")


def _find_tagged(tag: str, region: str | None) -> tuple[Any, str]:
    """Find the instances of a tag, and the name of their Region. Raises RequestError."""
    from harness.benches.bench import BenchError
    from harness.benches.ec2.api.api import Api
    from harness.benches.ec2.instances.tagged_instances import find_tagged

    name, sign, value = tag.partition("=")
    if not (name and sign and value):
        raise RequestError(f"--ec2-tag is {shorten_value(tag)}", next_step="write KEY=VALUE, such as role=trading")
    try:
        api = Api(region)
        return find_tagged(api, name, value), api.region
    except BenchError as error:
        raise RequestError(error.message, next_step=error.next_step) from error


def _require_one_source(hosts: list[str], *sources: str | None) -> None:
    named = [name for name, value in zip(_SOURCES, sources, strict=True) if value is not None]
    if len(named) > 1:
        raise RequestError(
            f"{' and '.join(named)} exclude each other", next_step="add the hosts of one, then the other"
        )
    if not named and not hosts:
        raise RequestError("no host to watch is named", next_step=f"HOST, or one of {', '.join(_SOURCES)}")


def _read_limits(bench: str, file: str | None, profile: str | None) -> tuple[dict[str, Any], Sequence[str]]:
    """Read what the clocks are held against, as streams have it, and what a watch does not judge as a run does.

    Raises RequestError.
    """
    from harness.campaign import campaign
    from harness.system import profile_files
    from harness.system.text_files import read_text
    from harness.watch.stream_limits import prepare_limits, read_limits

    if file is not None and profile is not None:
        raise RequestError("--limits and --profile exclude each other", next_step="name one of them")
    chosen: dict[str, Any] = {"bench": bench}
    if profile is not None:
        chosen["profile"] = profile
    if file is not None:
        text = read_text(file, kind="campaign", title="the campaign file")
        campaign.limits_from_yaml(text, where=file, bench=BenchName(bench), read_profile=profile_files.read_profile)
        written, _ = campaign.load_file(text, where=file)
        chosen["limits"] = {name: dict(values) for name, values in written["limits"].items() if name != "profile"}
        profile = written["limits"].get("profile")
        if not isinstance(profile, str | None):
            raise RequestError(f"{file} names several profiles", next_step="a stream is held against one: leave one")
        chosen |= {} if profile is None else {"profile": profile}
    prepared = prepare_limits(chosen, profile_files.read_profile)
    return prepared, read_limits(prepared).notes


def remove(
    streams: Annotated[
        list[str],
        typer.Argument(metavar="HOST", help="As `watch list` has them.", autocompletion=completion.watched_streams),
    ],
) -> None:
    """Watch hosts' clocks no longer.

    Their workers end with them at their next heartbeat. What was sampled and judged stays.

    Examples:
        ptp-harness watch remove k3f9.m7i.large
        ptp-harness watch remove 10.0.0.5 10.0.0.6
    """
    from harness.store.watch_streams import WatchStreams

    gone = WatchStreams(wiring.ledger(settings.load()).database).remove(streams)
    unknown = [name for name in dict.fromkeys(streams) if name not in gone]
    for name in gone:
        output.say(f"{name} is no longer watched")
    if unknown:
        raise RequestError(
            f"{', '.join(map(shorten_value, unknown))} is not watched", next_step="`ptp-harness watch list` lists all"
        )


def list_streams(json: Json = False) -> None:
    """List the hosts that are watched, and by which worker.

    How each is reached, how often it is sampled, and who added it. A host that nobody samples now has no worker.

    Examples:
        ptp-harness watch list
        ptp-harness watch list --json
    """
    from harness.store.watch_sources import WatchSources
    from harness.store.watch_streams import WatchStreams

    database = wiring.ledger(settings.load()).database
    setups, lines = WatchSources(database).read(), {line.stream: line for line in WatchStreams(database).list_streams()}
    if json:
        output.emit(
            [
                {
                    "stream": name,
                    "kind": setup.source.get("kind"),
                    "user": setup.source.get("user"),
                    "address": setup.source.get("address"),
                    "port": setup.source.get("port"),
                    "interval_s": setup.interval_s,
                    "limits": setup.limits,
                    "weight": setup.weight,
                    "worker": lines[name].owner if lines[name].leased else None,
                    "wanted": lines[name].wanted,
                    "epoch": lines[name].epoch,
                    "added": units.utc(setup.added_ns),
                    "added_by": setup.added_by,
                }
                for name, setup in setups.items()
                if name in lines
            ]
        )
        return
    if not setups:
        output.say("no host is watched; `ptp-harness watch add HOST` adds one")
        return
    rows = [("HOST", "REACHED AT", "EVERY", "WEIGHT", "WORKER", "ADDED", "BY")]
    rows += [
        (
            name,
            f"{setup.source.get('user')}@{setup.source.get('address')}:{setup.source.get('port')}",
            f"{setup.interval_s:g} s",
            f"{setup.weight:g}",
            (lines[name].owner if lines[name].leased else None) or "nobody",
            f"{units.utc_moment(setup.added_ns):%Y-%m-%d %H:%M}",
            setup.added_by,
        )
        for name, setup in setups.items()
        if name in lines
    ]
    output.show("\n".join(align_rows(rows)))
