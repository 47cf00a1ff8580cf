# What oracles say things with. They look from the gateway's network, as a client of the host, and know nothing of hostmend.

# host COMMAND… runs inside the host; `host sh <<'END'` a whole script.
host() { $ENTER "$@"; }

# login USER COMMAND… logs in over ssh with the key, from the client's address behind the gateway.
login() {
  local user=$1
  shift
  timeout "$((5 * PACE))" ssh -n -F none -i "$KEY" -b "$CLIENT" -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout="$((2 * PACE))" -o LogLevel=ERROR \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$user@$HOST" "$@"
}

# get PATH fetches from the host's web server; a slow answer is none.
get() { curl --silent --show-error --fail --noproxy '*' --interface "$CLIENT" --max-time "$((2 * PACE))" "http://$HOST$1"; }

# running UNIT… is true if all of them run.
running() { host systemctl is-active --quiet "$@"; }

# fails COMMAND… is true if it fails. Under `set -e` a bare `! command` never ends a script.
fails() {
  if "$@" >/dev/null 2>&1; then
    echo "works: $*"
    return 1
  fi
}


# metadata ITEM VALUE makes the cloud's metadata service say something else of the host.
metadata() { curl --silent --fail --noproxy '*' --max-time 2 --request PUT --data-binary "$2" "http://100.100.100.200/latest/meta-data/$1"; }

# wrong_names SERVER PORT leads the questions for a name server to one that is sick: 5302 answers SERVFAIL, 5303 NXDOMAIN, 5305 REFUSED,
# 5300 the same address for every name. right_names ends it.
wrong_names() {
  nft add table ip wrong_names
  nft add chain ip wrong_names prerouting '{ type nat hook prerouting priority -100; }'
  nft add rule ip wrong_names prerouting ip daddr "$1" meta l4proto '{ tcp, udp }' th dport 53 dnat to "$1:$2"
}
right_names() { nft delete table ip wrong_names; }
