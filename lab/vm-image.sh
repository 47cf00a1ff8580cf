#!/bin/sh
# Makes the disk, kernel and initrd of the lab's virtual machines: vm-image.sh ROOT DIRECTORY CONTROL
#
# The containers' root file system, ROOT, with what only a machine needs added: a kernel, udev, a boot loader's configuration,
# an address of its own, and CONTROL, the program through which the lab runs commands. Runs in a mount namespace of its own.
set -eu
root=$1 dir=$2 control=$3
mkdir -p "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
new=$dir/root

install -m 755 "$control" "$new/usr/local/sbin/lab-control"
cat >"$new/etc/systemd/system/lab-control@.service" <<'END'
[Unit]
Description=Commands of the lab, on port %i
DefaultDependencies=no
After=systemd-udevd.service

[Service]
ExecStart=/usr/local/sbin/lab-control /dev/virtio-ports/lab.%i
Restart=always
OOMScoreAdjust=-1000
TasksMax=infinity

[Install]
WantedBy=sysinit.target
END

# What the installer writes on a machine.
cat >"$new/etc/fstab" <<'END'
UUID=6d1f3c1e-52f5-4b0a-9d3b-2f6d8c1a7e10 / ext4 defaults,errors=remount-ro 0 1
/dev/vdb /data ext4 defaults,nofail,errors=remount-ro 0 2
END
cat >"$new/etc/systemd/network/10-eth0.network" <<'END'
[Match]
Name=eth0

[Network]
Address=172.16.0.10/24
Gateway=172.16.0.253
LinkLocalAddressing=no
IPv6AcceptRA=no
END

# Here chronyd steers the clock, which is the machine's own.
rm -r "$new/etc/systemd/system/chrony.service.d"
echo 'DAEMON_OPTS="-F 1"' >"$new/etc/default/chrony"

mkdir -p "$new/etc/default"
cat >"$new/etc/default/grub" <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=1
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="console=ttyS0 net.ifnames=0"
END

# Packages come from where the image's came from, with this machine's resolver and nothing started.
mount -t proc proc "$new/proc"
mkdir -p "$new/var/lib/apt/lists" "$new/var/cache/apt"
mount -t tmpfs tmpfs "$new/var/lib/apt/lists"
mount -t tmpfs tmpfs "$new/var/cache/apt"
mount --bind "$(readlink -f /etc/resolv.conf)" "$new/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
chmod 755 "$new/usr/sbin/policy-rc.d"
in_new() { chroot "$new" env DEBIAN_FRONTEND=noninteractive "$@" </dev/null; }
in_new apt-get update -q
in_new apt-get install -y -q --no-install-recommends busybox udev # the initrd needs both while it is made
in_new apt-get install -y -q --no-install-recommends linux-image-cloud-amd64 initramfs-tools grub-pc grub2-common \
  cloud-guest-utils dmsetup xfsprogs fdisk stress-ng
in_new systemctl enable -q systemd-networkd.service lab-control@0.service lab-control@1.service lab-control@2.service
rm "$new/usr/sbin/policy-rc.d"
umount "$new/etc/resolv.conf" "$new/var/cache/apt" "$new/var/lib/apt/lists" "$new/proc"

cp "$new"/boot/vmlinuz-* "$dir/vmlinuz"
cp "$new"/boot/initrd.img-* "$dir/initrd"

# One partition, as on an instance's system disk.
truncate -s 4G "$dir/root.img"
echo 'start=2048, type=83, bootable' | sfdisk -q "$dir/root.img"
mkfs.ext4 -q -U 6d1f3c1e-52f5-4b0a-9d3b-2f6d8c1a7e10 -d "$new" -E offset=1048576,root_owner=0:0 "$dir/root.img" 4095M
truncate -s 64M "$dir/data.img"
mkfs.ext4 -q -N 4096 -L data "$dir/data.img"
umount "$new"
rm -r "$dir/upper" "$dir/work" "$dir/root"
