# What oracles say things with. They look from the gateway's network, as a client of the host, and know nothing of hostmend.

# host COMMAND… runs inside the host; `host sh <<'END'` a whole script.
host() { $ENTER "$@"; }

# login USER COMMAND… logs in over ssh with the key, from the client's address behind the gateway.
login() {
  local user=$1
  shift
  timeout 5 ssh -n -F none -i "$KEY" -b "$CLIENT" -o BatchMode=yes -o IdentitiesOnly=yes -o ConnectTimeout=2 -o LogLevel=ERROR \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$user@$HOST" "$@"
}

# get PATH fetches from the host's web server; a slow answer is none.
get() { curl --silent --show-error --fail --noproxy '*' --interface "$CLIENT" --max-time 2 "http://$HOST$1"; }

# running UNIT… is true if all of them run.
running() { host systemctl is-active --quiet "$@"; }

# fails COMMAND… is true if it fails. Under `set -e` a bare `! command` never ends a script.
fails() {
  if "$@" >/dev/null 2>&1; then
    echo "works: $*"
    return 1
  fi
}

