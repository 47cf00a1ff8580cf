# Becomes systemd-nspawn: launch IMAGE DIRECTORY GROUP…. Runs as PID 1 of its own PID, mount and network namespaces.
set -eu
image=$1 dir=$2
shift 2
renice 0 $$ >/dev/null # a host is as eager as others are, whatever the lab's own niceness
for group in "$@"; do echo 0 >"$group/cgroup.procs"; done
mount -t proc proc /proc # this PID namespace's
mount -t tmpfs tmpfs /run # where nspawn leaves directories
read -r _                 # until eth0 is there
mount -t overlay overlay -o "lowerdir=$image,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"

# lxcfs shows a host its own control group's memory and processors instead of the machine's.
# Without swap: its account of it is sometimes below zero, which it prints as 2^64.
lxcfs --foreground --enable-loadavg --disable-swap "$dir/lxcfs" >/dev/null 2>&1 &
for _ in 1 2 3 4 5 6 7 8 9 10; do # 1 s; it takes 10 ms
  [ ! -e "$dir/lxcfs/proc/meminfo" ] || break
  sleep 0.1
done

# Only /proc/sys/net is the container's own; vm.* and kernel.* would change the machine. LOCK=0: the overlay is ours alone.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_LOCK=0
exec systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$dir/root" --machine=web-1 \
  --network-namespace-path=/proc/self/ns/net --capability=all --drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_BOOT \
  --link-journal=no --resolv-conf=off --timezone=off --console=read-only --kill-signal=SIGRTMIN+3 \
  --bind="$dir/lxcfs:/mnt/lxcfs" # nspawn cannot bind over files in /proc; furnish.sh does, once the host has its own
