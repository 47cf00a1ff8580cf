running ssh nginx app redis-server cron chrony
[ "$(login deploy id -un)" = deploy ]
[ "$(login root id -un)" = root ]
[ "$(get /health)" = ok ]
[ "$(get /large | wc -c)" = 262144 ]
host env PACE="$PACE" sh -eu <<'END'
sha256sum --quiet --check /root/records.sha256
[ -z "$(systemctl --failed --no-legend --plain)" ] || { systemctl --failed --no-legend --plain; exit 1; }
[ "$(systemctl is-system-running)" = running ] || { systemctl list-jobs --no-legend; exit 1; }
getent ahostsv4 shop.example.com >/dev/null
timeout "$((2 * PACE))" curl -sf http://100.100.100.200/latest/meta-data/instance-id >/dev/null
chronyc -n tracking | grep -q '^Leap status *: Normal'
END
