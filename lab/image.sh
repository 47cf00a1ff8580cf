#!/bin/sh
# Makes the root file system that every host of the lab is an overlay of: image.sh DIRECTORY KEY.pub
#
# A small Debian server doing ordinary work: nginx in front of an application that needs redis and its data disk, sshd with
# key logins for root and for deploy, cron, chrony. Beside it lie services that only some faults need: none of them starts
# unless a fault's `setup:` does it. The lab keeps the result in a cache named by the hash of this file.
set -eu
root=$1 key=$2
suite=bookworm

# python3-cffi-backend: debootstrap does not find it for python3-cryptography, which asks for it by a virtual name.
debootstrap --variant=minbase --include=chrony,cron,curl,dbus,e2fsprogs,ethtool,iproute2,iputils-ping,kmod,libpam-systemd,\
logrotate,nftables,nginx-light,openssh-server,procps,redis-server,systemd-sysv,\
at,cloud-init,docker.io,haproxy,mariadb-server,postgresql,python3-cffi-backend,rsyslog,systemd-resolved,\
acl,attr,bind9-dnsutils,busybox-static,conntrack,ipset,iptables,libcap2-bin,lsof,netcat-openbsd,openssl,socat,strace,stress-ng,sudo,util-linux-extra \
"$suite" "$root" ${HOSTMEND_LAB_MIRROR:+"$HOSTMEND_LAB_MIRROR"} # else debootstrap's own

# Nothing here may reach for the internet, and nobody sits at the console.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer console-getty.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# For faults only.
chroot "$root" systemctl disable --quiet atd containerd docker.service docker.socket haproxy mariadb.service mariadb.socket \
  postgresql rsyslog systemd-resolved
touch "$root/etc/cloud/cloud-init.disabled"
mkdir -p "$root/etc/docker" # overlays cannot be stacked on the host's own
echo '{"bridge": "none", "iptables": false, "ip6tables": false, "storage-driver": "vfs"}' >"$root/etc/docker/daemon.json"

rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists"
: >"$root/etc/machine-id" # each host gets its own

# chronyd must not steer the machine's clock: -x, and it has no CAP_SYS_TIME, without which Debian's unit would not start.
# The polling is the shortest that chrony has, so that a fresh host is synchronised within seconds.
cat >"$root/etc/default/chrony" <<'END'
DAEMON_OPTS="-F 1 -x"
END
mkdir -p "$root/etc/systemd/system/chrony.service.d"
cat >"$root/etc/systemd/system/chrony.service.d/container.conf" <<'END'
[Unit]
ConditionCapability=
END
cat >"$root/etc/chrony/chrony.conf" <<'END'
server ntp.cloud.aliyuncs.com iburst minpoll -2 maxpoll 2
driftfile /var/lib/chrony/chrony.drift
makestep 1.0 3
rtcsync
END

# The addresses and options of Alibaba's images.
rm -f "$root/etc/resolv.conf" # systemd-resolved's link
cat >"$root/etc/resolv.conf" <<'END'
options timeout:2 attempts:3 rotate single-request-reopen
nameserver 100.100.2.136
nameserver 100.100.2.138
END
printf '127.0.0.1 localhost\n172.16.0.10 web-1\n' >"$root/etc/hosts"
echo web-1 >"$root/etc/hostname"
printf '/dev/vdb /data ext4 defaults,nofail,errors=remount-ro 0 2\n' >"$root/etc/fstab"
mkdir -p "$root/data"

# A password nobody knows, so that the accounts are whole, and a key to log in with.
chroot "$root" useradd --create-home --shell /bin/bash deploy
for user in root deploy; do
  head -c 18 /dev/urandom | base64 | sed "s/^/$user:/" | chroot "$root" chpasswd
  home=$(chroot "$root" getent passwd "$user" | cut -d: -f6)
  mkdir -p "$root$home/.ssh"
  cp "$key" "$root$home/.ssh/authorized_keys"
  chmod 700 "$root$home/.ssh"
  chmod 600 "$root$home/.ssh/authorized_keys"
  chroot "$root" chown -R "$user:$user" "$home/.ssh"
done
# Logins are timed by the oracle: no name is looked up for them.
printf 'UseDNS no\n' >"$root/etc/ssh/sshd_config.d/lab.conf"

# The application: GET /health is 200 if it can write on the data disk and redis answers.
cat >"$root/usr/local/bin/app" <<'END'
#!/usr/bin/perl
use strict;
use warnings;
use IO::Socket::INET;
$SIG{PIPE} = 'IGNORE';
$| = 1;
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8080, Listen => 16, ReuseAddr => 1)
    or die "cannot listen: $!\n";
while (1) {
    my $client = $listener->accept or next;
    eval {
        local $SIG{ALRM} = sub { die "timeout\n" };
        alarm 5;
        while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
        my $why = trouble();
        my ($status, $body) = $why ? ('503 Service Unavailable', $why) : ('200 OK', 'ok');
        print $client "HTTP/1.0 $status\r\nContent-Length: ${\(length($body) + 1)}\r\n\r\n$body\n";
        alarm 0;
    };
    close $client;
}

sub trouble {
    -s '/data/records' or return 'no records';
    open(my $file, '>', '/data/probe') or return "data: $!";
    (syswrite($file, 'x' x 8192) // 0) == 8192 or return "data: $!";
    close $file;
    unlink '/data/probe' or return "data: $!";
    my $redis = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 6379, Timeout => 2) or return "redis: $!";
    print $redis "PING\r\n";
    my $answer = <$redis> // '';
    return $answer =~ /^\+PONG/ ? '' : "redis says $answer";
}
END
chmod 755 "$root/usr/local/bin/app"
cat >"$root/etc/systemd/system/app.service" <<'END'
[Unit]
Description=The shop's application
After=network.target redis-server.service

[Service]
ExecStart=/usr/local/bin/app
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
END
chroot "$root" systemctl enable --quiet app.service
cat >"$root/etc/nginx/sites-available/default" <<'END'
server {
    listen 80 default_server;
    root /srv/www;
    location = /health {
        proxy_pass http://127.0.0.1:8080;
        proxy_read_timeout 5s;
    }
}
END
mkdir -p "$root/srv/www"
head -c 262144 /dev/zero | tr '\0' x >"$root/srv/www/large"
