# Makes a host's disk fit to be an image: what belongs to this one host goes, its configuration stays. `seal.sh [ROOT]`,
# for a tree that is not the running system. Afterwards nobody can log in but over a connection that is there already.
set -eu
PATH=$PATH:/usr/sbin:/sbin
root=${1:-}

if [ -z "$root" ]; then
    for unit in chrony chronyd; do  # writes its drift when it ends
        if systemctl is-active --quiet "$unit.service"; then systemctl stop "$unit.service"; fi
    done
    if command -v cloud-init > /dev/null; then cloud-init clean --logs; fi
fi

# Who this host is, and who may log in: cloud-init gives the next one all of these.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id"
: > "$root/etc/machine-id"  # empty, not absent: absent means a first boot, at which presets would enable units anew
for home in "$root/root" "$root"/home/*; do
    rm -rf "$home/.ssh/authorized_keys" "$home/.ssh/known_hosts" "$home/.ansible" "$home/.bash_history"
done

# What it has seen. The end of its lease would end the lives of all who come after it.
for record in "$root"/var/lib/ptp-harness/*; do
    case $record in */ena_build.json) ;; *) rm -rf "$record" ;; esac
done
rm -rf "$root"/var/lib/chrony/* "$root"/var/log/chrony/* "$root"/var/log/journal/*
rm -rf "$root"/var/lib/dhcp/* "$root"/var/lib/dhclient/* "$root"/var/lib/NetworkManager/*.lease
rm -rf "$root"/var/lib/systemd/network/* "$root"/var/lib/systemd/random-seed "$root"/var/lib/systemd/credential.secret
find "$root/var/log" -xdev -type f -exec truncate -s 0 {} +
sync
