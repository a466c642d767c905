#!/usr/bin/env bash
# Qualifies the clocks of a campaign once, for cron, systemd, Kubernetes or a person:
#
#   qualify-clocks CAMPAIGN REPORTS [OPTION...]
#
# Writes report.json, report.xml (JUnit), report.html and run.log into a new folder below the folder REPORTS, to which
# REPORTS/latest leads then; and diff.xml where the variable BASELINE names a baseline. Options go to `ptp-harness run`.
# Prints nothing if all went well, so that cron sends no mail; else the log.
#
# Two runs with the same state directory (PTP_HARNESS_STATE_DIR) are never at work at once. A sweep follows each run,
# however it ended.
#
# Exit code: that of `ptp-harness run`; 1 also if the clocks got worse than in the baseline; 4 also if something is left
# running after the sweep; 75 if another run is at work, and nothing was done.
set -uo pipefail

if [ $# -lt 2 ]; then
  echo "usage: $0 CAMPAIGN REPORTS [OPTION...]" >&2
  exit 2
fi
campaign=$1 reports=$2
shift 2
umask 077
export PTP_HARNESS_STATE_DIR="${PTP_HARNESS_STATE_DIR:-$HOME/.local/state/ptp-harness}"
mkdir -p "$PTP_HARNESS_STATE_DIR" "$reports" || exit 2

# The run inherits the lock: it holds as long as this script or the run lives.
exec 9>"$PTP_HARNESS_STATE_DIR/qualify-clocks.lock" || exit 2
if ! flock --nonblock 9; then
  echo "another run with the state directory $PTP_HARNESS_STATE_DIR is at work: nothing was done" >&2
  exit 75
fi

folder=$reports/$(date -u +%Y-%m-%dT%H%M%SZ)
mkdir "$folder" && ln -sfn "${folder##*/}" "$reports/latest" || exit 2
log=$folder/run.log

# A request to stop goes on to the run, which releases its hosts; then the script goes on behind `wait`.
stopped=
trap 'stopped=1; kill -TERM "$run"' HUP INT TERM
ptp-harness run "$campaign" "$@" \
  -f json="$folder/report.json" -f junit="$folder/report.xml" -f html="$folder/report.html" 2>"$log" &
run=$!
wait "$run"
status=$?
while [ "$stopped" ]; do
  stopped=
  wait "$run"
  status=$?
done
trap '' HUP INT TERM

ptp-harness sweep --yes >>"$log" 2>&1
swept=$?
if [ "$swept" -eq 4 ] || [ "$status" -eq 0 ]; then
  status=$swept
fi

name=$(sed -n 's/^  "run": "\([a-z0-9]*\)",$/\1/p' "$folder/report.json" 2>/dev/null)
if [ "${BASELINE:-}" ] && [ "$name" ]; then
  ptp-harness diff "$name" --baseline "$BASELINE" -f text -f junit="$folder/diff.xml" >>"$log" 2>&1
  if [ $? -eq 1 ] && [ "$status" -eq 0 ]; then
    status=1
  fi
fi

if [ "$status" -ne 0 ]; then
  cat "$log" >&2
  echo "exit code $status; reports: $folder" >&2
fi
exit "$status"
