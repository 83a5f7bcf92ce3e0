#!/bin/sh
# Becomes one machine of the lab. lab/fleet starts it in a mount namespace of its own, so that the disk is mounted
# nowhere else and is gone from the mount table with the machine's last process, however that one ends.
#
# CGROUPS    directories (one per hierarchy) that are the machine's own: this script runs in keeper, the machine in
#            machine; without them all machines would share one /payload, and each systemd would take the others'
#            units for its own
# LOWER      the image's layers as overlayfs wants them
# DISK       directory with upper, work, root
# MACHINE, HOST, BRIDGE, CHECKOUT, KEYS
# PROVISION  command line that runs in the machine's disk before its first boot
set -eu

enter() {
    for cgroup in $CGROUPS; do
        mkdir -p "$cgroup/$1"
        echo 0 > "$cgroup/$1/cgroup.procs"
    done
}

enter keeper
root=$DISK/root
mount --make-rprivate /
# What systemd-nspawn keeps on the host (locks, a directory per machine) it cannot clear after a power cut: keep it here.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t overlay globoapp-lab -o "lowerdir=$LOWER,upperdir=$DISK/upper,workdir=$DISK/work" "$root"

if [ ! -e "$DISK/provisioned" ]; then
    mkdir -p "$root/run/lab/checkout" "$root/run/lab/keys"
    mount --bind "$CHECKOUT" "$root/run/lab/checkout"
    mount --bind "$KEYS" "$root/run/lab/keys"
    # shellcheck disable=SC2086 # a command line, made of plain words
    chroot "$root" sh /run/lab/checkout/lab/provision/$PROVISION
    umount "$root/run/lab/checkout" "$root/run/lab/keys"
    rm -r "$root/run/lab"
    touch "$DISK/provisioned"
fi

set --
if [ "$HOST" = master ]; then
    # systemd-nspawn splits its argument at colons
    set -- "--bind-ro=$(printf '%s' "$CHECKOUT" | sed 's/[\\:]/\\&/g'):/srv/globoapp"
fi
while :; do
    code=0
    (
        enter machine
        # Machines without nspawn's filter have both: closing an address without a lost client needs pidfd_getfd, and
        # systemd limits the addresses that a service reaches by bpf.
        exec systemd-nspawn --quiet --register=no --keep-unit --machine="$MACHINE" --hostname="$HOST" \
            --directory="$root" --network-bridge="$BRIDGE" --resolv-conf=off --timezone=off --link-journal=no \
            --kill-signal=SIGRTMIN+3 --system-call-filter="pidfd_getfd bpf" --console=pipe "$@" --boot
    ) || code=$?
    # 133 is how systemd-nspawn says that the machine wants to reboot.
    [ "$code" -eq 133 ] || exit "$code"
done
