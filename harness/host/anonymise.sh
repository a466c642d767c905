# Makes a host's disk fit to be an image: what belongs to this one host goes, its configuration stays. `anonymise.sh [ROOT]`,
# for a tree that is not the running system. Afterwards nobody can log in but over a connection that is there already.
#
# The tree may be a stranger's. A folder of it that leads out of it by a link is refused before anything is removed.
set -eu
PATH=$PATH:/usr/sbin:/sbin
umask 077
root=${1:-}
case $root in -*) root=./$root ;; esac
top=$(cd -P -- "${root:-/}" && pwd -P)

inside() {  # whether a folder of the tree is there; one that is outside of the tree ends all
    [ -d "$root/$1" ] || return 1
    real=$(cd -P -- "$root/$1" && pwd -P)
    case $real/ in
        "${top%/}"/*) ;;
        *) echo "$root/$1 leads out of $top, to $real: nothing was removed" >&2; exit 1 ;;
    esac
}

overwrite() {  # best effort: what is removed here should not stay in free blocks; a file with other names is left alone
    if command -v shred > /dev/null; then
        find "$@" -xdev -type f -links 1 -exec shred -f -n 1 -z {} + 2> /dev/null || :
    fi
}

empty() {  # remove all that is in a folder, hidden or not, and on the same file system
    if inside "$1"; then find "$root/$1/" -xdev -mindepth 1 -delete; fi
}

homes() {
    echo root
    for home in "$root"/home/*; do
        [ ! -d "$home" ] || echo "home/${home##*/}"
    done
    if [ -f "$root/etc/passwd" ] && [ ! -L "$root/etc/passwd" ]; then
        cut -d : -f 6 "$root/etc/passwd" | grep -E '^/[^/]' | grep -Ev '^/(var/)?run/' | cut -c 2- || :
    fi
}

folders="etc etc/ssh var var/lib var/log var/lib/dbus var/lib/ptp-harness var/lib/chrony var/log/chrony var/log/journal
    var/lib/dhcp var/lib/dhclient var/lib/NetworkManager var/lib/systemd var/lib/systemd/network var/lib/systemd/coredump
    var/lib/cloud var/lib/amazon var/lib/amazon/ssm var/crash var/tmp tmp boot boot/loader boot/efi boot/efi/loader"
for folder in $folders; do
    inside "$folder" || :
done
homes=$(homes | sort -u)
printf '%s\n' "$homes" | while IFS= read -r home; do
    for folder in "$home" "$home/.ssh" "$home/.local" "$home/.local/share" "$home/.local/share/fish"; do
        inside "$folder" || :
    done
done

if [ -z "$root" ]; then
    for unit in chrony chronyd; do  # writes its drift when it ends
        if systemctl is-active --quiet "$unit.service"; then systemctl stop "$unit.service"; fi
    done
    if command -v cloud-init > /dev/null; then cloud-init clean --logs; fi
fi

# Who this host is, and who may log in: cloud-init gives the next one all of these. Keys that are to be served next are
# called ssh_host_*.next.
if inside etc/ssh; then
    overwrite "$root"/etc/ssh/ -maxdepth 1 -name 'ssh_host_*'
    rm -f "$root"/etc/ssh/ssh_host_*
fi
if inside var/lib/dbus; then rm -f "$root/var/lib/dbus/machine-id"; fi
if inside etc; then
    find "$root/etc/" -maxdepth 1 -name machine-id ! '(' -type f -links 1 ')' -exec rm -rf {} +
    : > "$root/etc/machine-id"  # empty, not absent: absent means a first boot, at which presets would enable units anew
    chmod 444 "$root/etc/machine-id"
fi
printf '%s\n' "$homes" | while IFS= read -r home; do
    inside "$home" || continue
    for name in authorized_keys authorized_keys2 known_hosts known_hosts.old; do
        if inside "$home/.ssh"; then rm -rf "$root/$home/.ssh/$name"; fi
    done
    overwrite "$root/$home/" -maxdepth 1 -name '.*history*'
    find "$root/$home/" -xdev -maxdepth 1 '(' -name '.*history*' -o -name .histfile -o -name .lesshst -o -name .viminfo \
        -o -name .ansible ')' -exec rm -rf {} +
    if inside "$home/.local/share/fish"; then rm -rf "$root/$home/.local/share/fish/fish_history"; fi
done

# What it was given: user data holds the key by which it was first known. cloud-init keeps seeds too, when it cleans up.
if inside var/lib/cloud; then
    overwrite "$root/var/lib/cloud/" -path '*/seed' -prune -o
    find "$root/var/lib/cloud/" -xdev -mindepth 1 -maxdepth 1 ! -name seed -exec rm -rf {} +
fi

# What it has seen. The end of its lease would end the lives of all who come after it.
if inside var/lib/ptp-harness; then
    find "$root/var/lib/ptp-harness/" -xdev -mindepth 1 -maxdepth 1 ! -name ena_build.json -exec rm -rf {} +
fi
for folder in var/lib/chrony var/log/chrony var/log/journal var/lib/dhcp var/lib/dhclient var/lib/systemd/network \
    var/lib/systemd/coredump var/crash; do
    empty "$folder"
done
if inside var/lib/NetworkManager; then
    rm -f "$root"/var/lib/NetworkManager/*.lease "$root/var/lib/NetworkManager/secret_key"
fi
for folder in var/lib/systemd boot/loader boot/efi/loader; do
    if inside "$folder"; then
        overwrite "$root/$folder/" -maxdepth 1 '(' -name random-seed -o -name credential.secret ')'
        rm -f "$root/$folder/random-seed" "$root/$folder/credential.secret"
    fi
done
if inside var/log; then
    find "$root/var/log/" -xdev -type f -links +1 -delete  # its other name may be anybody's
    find "$root/var/log/" -xdev -type f -exec truncate -s 0 {} +
fi
for folder in var/tmp tmp; do
    empty "$folder" || :  # what is being used there may come and go
done

# Last, since our connection may pass through its agent: who this host is to Systems Manager.
if inside var/lib/amazon/ssm; then overwrite "$root/var/lib/amazon/ssm/"; fi
empty var/lib/amazon/ssm || :
sync
if [ -z "$root" ] && command -v fstrim > /dev/null; then  # what had the freed blocks is gone, where the disk can do that
    timeout 60 fstrim --all > /dev/null 2>&1 || :
fi
