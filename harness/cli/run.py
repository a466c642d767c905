"""`run`: qualify hosts, report, and leave nothing running."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, NoReturn

import typer

from harness import wiring
from harness.cli import campaign_options, completion, output, progress, report, run_controls
from harness.errors import RequestError
from harness.model import RunRecord
from harness.report import text
from harness.report.exit_codes import exit_code_of
from harness.runs import campaign_run, helping
from harness.runs.prepare import prepare, prepare_resolved
from harness.system import settings
from harness.system.settings import Settings


def run(
    targets: campaign_options.TargetsUnlessJoined = None,
    bench: campaign_options.BenchName = None,
    inventory: campaign_options.Inventory = None,
    region: campaign_options.Region = None,
    image: campaign_options.ImageName = None,
    depth: campaign_options.DepthName = None,
    disturb: campaign_options.Disturb = None,
    keep: campaign_options.KeepWhich = None,
    parallel: campaign_options.Parallel = None,
    read_only: campaign_options.ReadOnly = False,
    duration: campaign_options.Duration = None,
    forms: report.Forms = None,
    json: report.Json = False,
    join: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Help with this run, which another process leads.", autocompletion=completion.runs
        ),
    ] = None,
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="With a service: the site that carries the campaign out.")
    ] = None,
    priority: Annotated[
        int, typer.Option(min=-100, max=100, metavar="N", help="With a service: the highest begins first.")
    ] = 0,
    detach: Annotated[
        bool, typer.Option("--detach", help="With a service: submit the campaign, print its task, and end.")
    ] = False,
) -> None:
    """Make hosts, measure and judge their clocks, report, release.

    Every host gets exactly one verdict: PASS, FAIL, UNSUPPORTED or INCONCLUSIVE. A host's failure does not stop the
    others. Flags override the campaign file.

    Ctrl-C once ends hosts under way early, releases them and still reports. Ctrl-C twice stops at once; then `resume`
    goes on with the run, or `sweep` removes what is left.

    With --join this process, on this machine or another one with the same ledger, qualifies hosts that the run has not
    begun yet. The process that leads the run waits for them and reports. Ctrl-C gives the hosts under way back.

    With `ptp-harness --server URL run` a service carries the campaign out: its progress, report and exit code are the
    same. Ctrl-C once cancels the campaign; twice leaves at once, and the service goes on. So does a terminal that
    closes.

    Examples:
        ptp-harness run lab.phc lab.drifting
        ptp-harness run lab.driver-off --read-only
        ptp-harness run lab.phc lab.phc --keep ask
        ptp-harness run campaign.yaml --json > report.json
        ptp-harness run campaign.yaml -f json=report.json -f junit=report.xml
        ptp-harness run m7i.large c7g.large --region eu-north-1
        ptp-harness run lab.phc --depth full --disturb cpu-load --disturb reboot
        ptp-harness run --inventory hosts.yaml all --read-only
        ptp-harness run --inventory hosts.yaml rack7 --depth full
        ptp-harness run --join k3f9 --parallel 4
        ptp-harness --server https://hub run campaign.yaml -f junit=report.xml
        ptp-harness --server https://hub run lab.phc --site rack7 --detach
    """
    if site is not None or priority or detach:
        raise RequestError(
            "--site, --priority and --detach go with a service",
            next_step=f"ptp-harness --server URL run {' '.join(targets or ())}".rstrip(),
        )
    if join is not None:
        others = (targets, bench, inventory, region, image, depth, disturb, keep, read_only, duration, forms, json)
        if any(others):
            raise RequestError(
                f"--join {join} goes with --parallel alone: the run has its campaign, and its leader reports",
                next_step=f"ptp-harness run --join {join}",
            )
        _help_with(join, parallel)
        return
    if not targets:
        raise RequestError("nothing to run: name a campaign file or types", next_step="ptp-harness run lab.phc")
    targets_of_report = report.read_targets(forms, json=json)
    source = {"bench": bench, "inventory": inventory, "region": region, "image": image}
    flags = source | {"depth": depth, "disturbances": disturb or None, "keep": keep, "parallel": parallel}
    requested = campaign_options.load_campaign(targets, read_only=read_only, duration=duration, **flags)
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    with campaign_options.placing_unknown_types(targets):
        prepared = prepare(requested, configuration, wiring.benches(configuration, ledger))
    for warning in prepared.plan.warnings:
        output.say(f"warning: {warning}")
    with progress.open_display(requested.bench) as display:
        controls = run_controls.campaign_controls(display, requested)
        record = campaign_run.start(prepared, ledger, configuration, controls)
    end_command(record, configuration, targets_of_report)


def _help_with(name: str, parallel: int | None) -> None:
    """Qualify hosts of a run that another process leads, and say which."""
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    run_name = ledger.find(name).run
    campaign = helping.read_living_campaign(run_name, ledger)
    prepared = prepare_resolved(campaign, configuration, wiring.benches(configuration, ledger))
    if parallel is not None:
        prepared = replace(prepared, plan=replace(prepared.plan, parallel=parallel))
    with progress.open_display(campaign.bench) as display:
        controls = run_controls.make_controls(display, lambda _run: "")
        records = helping.help_with(run_name, prepared, ledger, configuration, controls)
    for host, record in records.items():
        output.say(f"{host}: {record.verdict.outcome} {record.verdict.reason}")
    count = f"qualified {len(records)} of its hosts" if records else "no host was left to begin"
    output.say(f"helped with run {run_name}: {count}; `ptp-harness show {run_name} --follow` shows the others")


def end_command(record: RunRecord, configuration: Settings, targets_of_report: Sequence[report.Target]) -> NoReturn:
    """Print the report for people on standard error, write the requested reports, and end with the exit code."""
    path = configuration.runs_dir / record.run / campaign_run.REPORT_TEXT
    output.say(text.summary(record, report_path=str(path), width=output.width()))
    report.write_reports(record, targets_of_report, configuration)
    raise typer.Exit(exit_code_of(record))
