"""`serve`: campaigns over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from harness import wiring
from harness.cli import hub_options, output, service_options, watch_options
from harness.errors import RequestError
from harness.model.bench_traits import BenchName
from harness.service.context import ServiceOptions, add_watch
from harness.service.server import Address, Certificate, listen, parse_address, parse_proxies, serve_requests
from harness.store.task_queue import TaskQueue


def serve(
    address: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where it listens; port 0: any that is free.")
    ] = "127.0.0.1:8440",
    is_open: Annotated[
        bool, typer.Option("--open", help="Serve requests without a token, with every right; on loopback alone.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate, in PEM, with its chain: HTTPS.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The private key of the certificate, in PEM.")
    ] = None,
    proxies: Annotated[
        list[str] | None,
        typer.Option("--proxy", metavar="ADDRESS", help="A proxy whose X-Forwarded-For counts; may be repeated."),
    ] = None,
    archive_hosts: service_options.ArchiveHosts = None,
    benches: Annotated[
        list[BenchName] | None,
        typer.Option("--bench", help="A bench that campaigns may use (default: lab and ec2); may be repeated."),
    ] = None,
    works: Annotated[
        bool, typer.Option("--work/--no-work", help="Carry out campaigns here; without, `ptp-harness work` does.")
    ] = True,
    watches: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Lead the watch of streams here; `watch serve` does it alone.")
    ] = True,
    parallel: service_options.Parallel = service_options.TASKS_AT_ONCE,
    per_bench: service_options.PerBench = None,
    per_submitter: service_options.PerSubmitter = None,
    registry: hub_options.Registry = None,
    registry_every: hub_options.RegistryEvery = "60s",
    site_tokens: hub_options.SiteTokens = None,
) -> None:
    """Serve campaigns over HTTP for a team.

    Requests carry a token of `ptp-harness token create`. Each campaign runs in a process of its own: the end of the
    service, also by a crash, touches none, and the next service goes on with what a dead process left. Ctrl-C stops the
    service once open requests are answered.

    With --registry it is a hub: campaigns go to the site that they name, or to one that has their bench. What a site
    found comes back into the ledger of the hub.

    Examples:
        ptp-harness serve --open
        ptp-harness serve --listen 0.0.0.0:8440 --certificate cert.pem --key key.pem
        ptp-harness serve --listen 10.0.0.7:8440 --proxy 10.0.0.1
        ptp-harness serve --registry sites.json --site-token rack7=rack7.token
        ptp-harness serve --parallel 4 --per-bench lab=1 --per-submitter 2
    """
    place = parse_address(address)
    if is_open and not place.is_loopback:
        raise RequestError(
            f"--open serves everybody who reaches {place}, with every right",
            next_step="listen on 127.0.0.1, or leave --open out: `ptp-harness token create NAME` makes tokens",
        )
    limits = service_options.make_limits(parallel, per_bench, per_submitter)
    configuration = service_options.load_settings(archive_hosts)
    pair, trusted = Certificate.load(certificate, key), parse_proxies(proxies or ())
    sites = hub_options.make_hub_options(registry, registry_every, site_tokens)
    ledger = wiring.ledger(configuration)
    executor = service_options.make_executor(TaskQueue(ledger), limits, configuration) if works else None
    options = ServiceOptions(
        limits=limits,
        benches=tuple(benches or (() if sites else (BenchName.LAB, BenchName.EC2))),
        is_open=is_open,
        hosts_allowed=configuration.archive_hosts,
    )
    context = wiring.service_context(configuration, options, ledger, executor, sites)
    if watches:
        context = add_watch(context, watch_options.make_orchestrator(configuration))
    with listen(place) as listening:
        scheme = "https" if pair else "http"
        bound = Address.of_socket(listening)
        output.say(f"serving on {scheme}://{bound}; ledger {ledger.url}; Ctrl-C stops it")
        if sites is not None:
            output.say(f"a hub of the sites in the registry {sites.registry}, which is read every {sites.every_s:g} s")
        if is_open:
            output.say("warning: requests need no token here (--open)")
        serve_requests(context, listening, executor=executor, certificate=pair, proxies=trusted)
