"""`resume`: go on with a run whose process died."""

from harness import wiring
from harness.cli import output, progress, report, run, run_argument, run_controls
from harness.runs import campaign_run
from harness.runs.prepare import prepare_resolved
from harness.system import settings


def resume(run_name: run_argument.DeadRun, form: report.Form = None, json: report.Json = False) -> None:
    """Go on with a run whose process died.

    By kill -9, a power cut, or the second Ctrl-C. Hosts that have their verdict keep it; what the first attempt at the
    others left is removed, and they begin anew. The original campaign settings still apply. `sweep --yes` ends such a
    run instead.

    Examples:
        ptp-harness resume k3f9
        ptp-harness resume k3f9 --json > report.json
    """
    configuration = settings.load()
    ledger = wiring.ledger(configuration)
    asked = campaign_run.read_dead_campaign(run_name, ledger)
    prepared = prepare_resolved(asked, configuration, wiring.benches(configuration))
    with progress.show_progress(output.console()) as news:
        controls = run_controls.campaign_controls(news, asked)
        record = campaign_run.resume(run_name, prepared, ledger, configuration, controls)
    run.end_command(record, configuration, form, json=json)
