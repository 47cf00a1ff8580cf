package linux

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// sshCommand tells that a unit's command logs in elsewhere with OpenSSH's client, by itself or within another program.
var (
	sshCommand  = regexp.MustCompile(`(?:^|[\s/;"'])(?:ssh|scp|sftp|sshfs|autossh|rsync|git)(?:\s|$)`)
	identity    = regexp.MustCompile(`(?:\s-i\s*|IdentityFile[= ]\s*)["']?(/[^\s;"']+)`)
	unitUser    = regexp.MustCompile(`(?m)^User=\s*(\S+)`)
	defaultKeys = []string{"id_rsa", "id_ecdsa", "id_ed25519", "id_dsa", "id_ecdsa_sk", "id_ed25519_sk"}
)

// lookAtClientKeys finds a private key that others may read, which ssh then does not use (sshkey_perm_ok in OpenSSH's authfile.c): with -q it does
// not even say so. Only the owner's own keys are looked at by it.
func (u *unitFacts) lookAtClientKeys(h host.Files, command string, files []string) {
	user := "root"
	for _, file := range files {
		text, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		for _, m := range unitUser.FindAllStringSubmatch(string(text), -1) {
			user = m[1]
		}
	}
	home, uid := homeOf(h, user)
	var keys []string
	for _, m := range identity.FindAllStringSubmatch(command, -1) {
		keys = append(keys, m[1])
	}
	for _, name := range defaultKeys {
		if home != "" {
			keys = append(keys, path.Join(home, ".ssh", name))
		}
	}
	for _, key := range keys {
		fi, err := h.Stat(key)
		if err == nil && fi.Mode.IsRegular() && fi.Mode.Perm()&0o77 != 0 && (uid == "" || fmt.Sprint(fi.UID) == uid) {
			u.Reason = "key-too-open"
			u.Detail = fmt.Sprintf("%s has mode %04o: ssh ignores a private key that others may read", key, fi.Mode.Perm())
			return
		}
	}
}

// homeOf is the home of a user of this host and its number; empty if /etc/passwd does not have it.
func homeOf(h host.Files, user string) (home, uid string) {
	text, err := h.ReadFile("/etc/passwd")
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 && (f[0] == user || f[2] == user) {
			return f[5], f[2]
		}
	}
	return "", ""
}
