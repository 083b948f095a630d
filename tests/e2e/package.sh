#!/bin/sh
# package.sh PACKAGE: installs the Debian package and runs its service with systemd, in a disposable copy of this machine:
# separate namespaces over a copy-on-write view of the file system, with a separate systemd.
set -eu

case ${1-} in
--booting) ;;
*)
    [ "$(id -u)" -eq 0 ] || { echo "package.sh: run this as root" >&2 && exit 1; }
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    cp "$1" "$place/mintkey.deb"
    cp "$(dirname "$0")/package_check.sh" "$place/check.sh"
    timeout --kill-after=5 120 unshare --mount --pid --ipc --uts --net --cgroup --fork \
        sh "$0" --booting "$place" >"$place/boot.log" 2>&1 || true
    if ! grep -qx passed "$place/check.log"; then
        cat "$place/boot.log" "$place/check.log" >&2 || true
        exit 1
    fi
    echo "package.sh: 1 passed, 0 failed"
    exit
    ;;
esac

place=$2
root=$place/layers/root
mount --make-rprivate /
mkdir "$place/layers"
mount -t tmpfs none "$place/layers"
mkdir "$place/layers/changes" "$place/layers/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/layers/changes,workdir=$place/layers/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
for directory in sys/fs/cgroup run tmp; do
    mount -t tmpfs none "$root/$directory"
done
mount --rbind /dev "$root/dev"
mkdir "$root/check"
mount --bind "$place" "$root/check"
ip link set lo up

# Services of this machine, and units with effects outside of the namespaces, are not started.
rm -rf "$root"/etc/systemd/system/*.wants "$root/usr/sbin/policy-rc.d"
for unit in networking systemd-logind systemd-modules-load systemd-random-seed systemd-remount-fs systemd-sysctl \
    systemd-timesyncd systemd-tmpfiles-setup-dev systemd-udev-trigger systemd-udevd systemd-update-utmp; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
cat >"$root/etc/systemd/system/check.service" <<'UNIT'
[Unit]
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=/bin/sh -eu /check/check.sh
ExecStopPost=/bin/systemctl --force --force poweroff
StandardOutput=file:/check/check.log
StandardError=file:/check/check.log
UNIT
# Not `chroot`, from within which the kernel allows no user namespace, which the unit requires.
mkdir "$root/check/old"
cd "$root"
pivot_root . check/old
umount --lazy /check/old
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=check.service --log-target=console
