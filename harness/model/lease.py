"""The lease of a host as the host itself keeps it: a timer that powers it off, and one that warns before.

The scripts run as root on the host: the first at each boot (cloud-init), the second when the lease is extended.
"""

END_BOOK = "/var/lib/ptp-harness/lease-end"
"""The file that holds the end of the lease, s since the epoch; beside it `lease-end-length`, its length in seconds."""

SHORTEST_S, LONGEST_S = 60, 30 * 86_400
"""Bounds of a lease, in seconds."""

WARNS_BEFORE_S = 600
_UNIT, _WARNING = "ptp-harness-lease", "ptp-harness-lease-warning"


def boot_script(lease_s: int, book: str = END_BOOK) -> str:
    """A script, run early at each boot, that powers the host off when its lease ends, unaffected by clock steps.

    The end of the lease is stored at the first boot, so that a reboot does not restart the lease. A wrong clock cannot
    make the remaining time longer than the lease or shorter than a minute.
    """
    return f"""set -eu
now=$(date +%s)
mkdir -p {book.rpartition("/")[0]}
[ -s {book} ] || echo $((now + {lease_s})) > {book}
length={lease_s}
[ ! -s {book}-length ] || length=$(cat {book}-length)
left=$(($(cat {book}) - now))
[ $left -le $length ] || left=$length
[ $left -ge 60 ] || left=60
{_TIMERS}"""


def extension_script(left_s: int, book: str = END_BOOK) -> str:
    """A script that makes the lease of a running host end so many seconds from now, whenever it was to end before."""
    return f"""set -eu
left={left_s}
mkdir -p {book.rpartition("/")[0]}
echo $left > {book}-length
echo $(($(date +%s) + left)) > {book}.new
mv {book}.new {book}
sync
systemctl stop {_WARNING}.timer {_UNIT}.timer 2> /dev/null || true
systemctl reset-failed {_WARNING}.service {_UNIT}.service 2> /dev/null || true
{_TIMERS}"""


# systemd is still starting at that time and waits for cloud-init, so nothing here may wait for systemd: timers and
# services are without their default dependencies on the early boot. systemd 257's systemd-run waits for the timer's
# start in spite of `--no-block`; with the dependencies, Debian 13 would never boot.
_TIMERS = f"""run() {{
  systemd-run --no-block --collect --timer-property=AccuracySec=1s --timer-property=DefaultDependencies=no \\
    --property=DefaultDependencies=no "$@"
}}
run --unit={_UNIT} --on-active=$left systemctl poweroff
[ $left -le {WARNS_BEFORE_S} ] || run --unit={_WARNING} --on-active=$((left - {WARNS_BEFORE_S})) \\
  wall "the lease of this host ends in {WARNS_BEFORE_S // 60} minutes: it is powered off then, if nobody extends it"
"""
