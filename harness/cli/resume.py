"""`resume`: go on with a run whose process died."""

from harness import wiring
from harness.cli import progress, report, run, run_argument, run_controls
from harness.runs import campaign_run
from harness.runs.prepare import prepare_resolved
from harness.system import settings


def resume(run_name: run_argument.DeadRun, forms: report.Forms = None, json: report.Json = False) -> None:
    """Go on with a run whose process died.

    Use it after kill -9, a power cut, or a second Ctrl-C. Hosts with a verdict keep it. The other hosts begin anew,
    after all that the first attempt made for them is removed. The original campaign settings still apply. `sweep --yes`
    ends such a run instead.

    Examples:
        ptp-harness resume k3f9
        ptp-harness resume last -f json=report.json -f junit=report.xml
        ptp-harness resume k3f9 --json > report.json
    """
    targets_of_report = report.read_targets(forms, json=json)
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    run_name = ledger.find(run_name).run
    campaign = campaign_run.read_dead_campaign(run_name, ledger)
    prepared = prepare_resolved(campaign, configuration, wiring.benches(configuration, ledger))
    with progress.open_display(campaign.bench) as display:
        controls = run_controls.campaign_controls(display, campaign)
        record = campaign_run.resume(run_name, prepared, ledger, configuration, controls)
    run.end_command(record, configuration, targets_of_report)
