# The rest of the host, done inside it while it boots, and again until all of it succeeds.

# systemd ignores devices in fstab when it runs in a container, so the data disk is mounted here.
[ -e /dev/vdb ] || mknod -m 660 /dev/vdb b "$major" "$minor"
mountpoint -q /data || mount /data
[ -s /data/records ] || head -c 1048576 /dev/urandom >/data/records
sync --file-system /data # a fault may abort the journal before its next commit
sha256sum /data/records >/root/records.sha256

# What cloud-init leaves on an Alibaba Cloud instance; a container has no firmware of its own that would say so.
mkdir -p /run/cloud-init
echo aliyun >/run/cloud-init/cloud-id

if [ -d /mnt/lxcfs ]; then
  for file in cpuinfo diskstats loadavg meminfo stat swaps uptime; do
    mount --bind "/mnt/lxcfs/proc/$file" "/proc/$file"
  done
  umount --lazy /mnt/lxcfs
  rmdir /mnt/lxcfs
fi
