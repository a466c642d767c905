"""Scripts for root's shell in a guest, by which truths bend their hosts."""

ASK_MORE = "sed -i 's/ dpoll 0 / dpoll -3 /' /etc/chrony/chrony.conf && systemctl restart chrony"
STEER = "systemd-run --unit=steer phc2sys -s /dev/ptp_ena -c CLOCK_REALTIME -O 0"
CHANGE_KEY = """
rm /etc/ssh/ssh_host_ed25519_key*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
systemctl restart ssh
pkill -KILL sshd-session
"""
BREAK_CHRONY = """
mkdir -p /etc/systemd/system/chrony.service.d
printf '[Service]\\nExecStartPre=/bin/false\\n' > /etc/systemd/system/chrony.service.d/broken.conf
systemctl daemon-reload
"""
HOLD_NUMBER = """
setsid sleep 1000 < /dev/ptp0 > /dev/null 2>&1 &
devlink dev reload $(devlink dev | grep -m1 pci/)
"""
"""A clock's number stays taken while a process has the clock open, so the clock comes back as /dev/ptp1."""
RESET_AT_BOOT = """
cat > /etc/systemd/system/reset.service <<'UNIT'
[Unit]
DefaultDependencies=no
After=local-fs.target
Before=systemd-udevd.service systemd-udev-trigger.service
[Service]
Type=oneshot
ExecStart=/bin/rm -f /etc/udev/rules.d/54-ptp-harness-ena.rules
[Install]
WantedBy=sysinit.target
UNIT
systemctl enable reset.service
"""
REFUSE_RELOADS = """
cat > /opt/devlink <<'END'
#!/bin/sh
case "$*" in *reload*) echo 'kernel answers: Device or resource busy' >&2; exit 16;; esac
exec /opt/devlink.real "$@"
END
devlink=$(realpath $(command -v devlink))
cp $devlink /opt/devlink.real
chmod +x /opt/devlink
mount --bind /opt/devlink $devlink
"""
"""The refusal lasts until the next boot, which removes the mount."""
SET_BY_NTP = """
modprobe ptp
chronyd -q "server $NTP_HOST port $NTP_PORT iburst maxsamples 4"
for clock in /sys/class/ptp/ptp*; do phc_ctl /dev/${clock##*/} set; done
"""
HOLD_LOCKS = """
cat > /run/hold-locks <<'END'
import fcntl, time
locks = [open(path, "w") for path in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")]
for lock in locks:
    fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(180)
END
systemd-run --unit=hold-locks python3 /run/hold-locks
"""
HIDE_BOUND = """
touch /run/nothing
mount --bind /run/nothing /sys/bus/pci/devices/$(basename $(realpath /sys/class/ptp/ptp0/device))/phc_error_bound
"""
