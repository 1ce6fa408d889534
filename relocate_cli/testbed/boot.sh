#!/bin/sh
# Boots one host: systemd as PID 1 of its own mount, PID, UTS, IPC and cgroup namespaces, in the network namespace given.
# usage: boot.sh DIRECTORY ROOT NETNS CGROUP STORAGE [inside]
# DIRECTORY holds the host's own upper/, work/, merged/, docker/ and containerd/; ROOT is the tree that all hosts share.
# Every mount is made in the host's mount namespace, so all of them go when its last process does.
set -eu
directory=$1 root=$2 netns=$3 cgroup=$4 storage=$5

if [ "${6:-}" != inside ]; then
    echo $$ >"$cgroup/cgroup.procs"
    exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private \
        nsenter --net="$netns" sh "$0" "$directory" "$root" "$netns" "$cgroup" "$storage" inside
fi

merged=$directory/merged
mount -t overlay -o "lowerdir=$root,upperdir=$directory/upper,workdir=$directory/work" overlay "$merged"
# Docker's overlay2 cannot lie on an overlay: these are directories of the machine's own file system.
mount --bind "$directory/docker" "$merged/var/lib/docker"
mount --bind "$directory/containerd" "$merged/var/lib/containerd"
mount --bind "$storage" "$merged/srv/relocate-storage"

mount -t proc -o nosuid,nodev,noexec proc "$merged/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$merged/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$merged/sys/fs/cgroup"
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$merged/run"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$merged/tmp"

# A /dev of its own: systemd changes owners and modes there, which must never reach the machine's.
dev=$merged/dev
mount -t tmpfs -o nosuid,mode=755 tmpfs "$dev"
mkdir "$dev/pts" "$dev/shm" "$dev/mqueue" "$dev/net"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$dev/pts"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$dev/shm"
mount -t mqueue mqueue "$dev/mqueue"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 "$dev/tty" c 5 0
mknod -m 600 "$dev/console" c 1 3
mknod -m 600 "$dev/net/tun" c 10 200
mknod -m 600 "$dev/fuse" c 10 229
ln -s pts/ptmx "$dev/ptmx"
ln -s null "$dev/kmsg"
ln -s /proc/self/fd "$dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$dev/${number#*:}"; done

# Of the kernel's settings a host may change those that are its own, not the machine's.
sysctl=$merged/proc/sys
own="$(cd "$sysctl" && ls -d net fs/mqueue kernel/hostname kernel/domainname kernel/ns_last_pid \
    kernel/sem* kernel/msg* kernel/shm* 2>/dev/null || true)"
mount --bind "$sysctl" "$sysctl"
for name in $own; do mount --bind "$sysctl/$name" "$sysctl/$name"; done
mount -o remount,bind,ro "$sysctl"
[ ! -e "$merged/proc/sysrq-trigger" ] || mount --bind "$dev/null" "$merged/proc/sysrq-trigger"

hostname "$(cat "$merged/etc/hostname")"
cd "$merged"
mkdir -p run/oldroot
pivot_root . run/oldroot
exec chroot . /bin/sh -c '
    umount -l /run/oldroot && rmdir /run/oldroot
    exec env -i container=relocate-testbed PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        /lib/systemd/systemd --log-target=journal --show-status=no' </dev/null >/dev/null 2>&1
