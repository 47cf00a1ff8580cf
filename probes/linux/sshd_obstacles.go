package linux

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// sshObstacle is a setting that sshd accepts, and with which logins or transfers then fail.
type sshObstacle struct {
	Key     string `fact:"what,key" doc:"The setting; with a block of its own also the account, as in \"ForceCommand (deploy)\""`
	Setting string `fact:"setting" doc:"The keyword"`
	Value   string `fact:"value" doc:"Its value"`
	Where   string `fact:"where" doc:"File and line that first name the keyword; empty if none does"`
	Account string `fact:"account" doc:"Whose logins it concerns; empty for everybody's"`
	Problem string `fact:"problem" doc:"Why it cannot work"`
	Kind    string `fact:"kind" doc:"What fails: \"login\", \"transfer\" (sftp, and scp since OpenSSH 9.0), \"certificate\" or \"keys\""`
}

// maxObstacles bounds the list; a wrong directory for a group of a thousand accounts is one trouble.
const maxObstacles = 10

func (f *sshdFacts) obstacle(h host.Files, o sshObstacle) {
	if o.Key = o.Setting; o.Account != "" {
		o.Key += " (" + o.Account + ")"
	}
	if slices.ContainsFunc(f.Obstacles, func(p sshObstacle) bool { return p.Setting == o.Setting && (p.Account == "" || p.Key == o.Key) }) || len(f.Obstacles) == maxObstacles {
		return
	}
	o.Where = settingAt(h, o.Setting)
	f.Obstacles = append(f.Obstacles, o)
}

// obstacles looks at what holds for every account.
func (f *sshdFacts) obstacles(h host.Files, conf map[string][]string) {
	for _, v := range conf["subsystem"] {
		name, command, _ := strings.Cut(v, " ")
		if problem := notRunnable(h, command); problem != "" && name == "sftp" {
			f.obstacle(h, sshObstacle{Setting: "Subsystem", Value: v, Problem: problem, Kind: "transfer"})
		}
	}
	if slices.Equal(conf["addressfamily"], []string{"inet6"}) && hasIPv4Route(h) {
		f.obstacle(h, sshObstacle{Setting: "AddressFamily", Value: "inet6", Problem: "it listens on IPv6 alone: who comes by IPv4 is refused", Kind: "login"})
	}
	if v := conf["persourcemaxstartups"]; slices.Equal(v, []string{"0"}) {
		f.obstacle(h, sshObstacle{Setting: "PerSourceMaxStartups", Value: "0", Problem: "each connection is one too many and dropped", Kind: "login"})
	}
	if v := conf["maxstartups"]; len(v) > 0 && (strings.HasPrefix(v[0], "0:") || strings.HasPrefix(v[0], "1:100:")) {
		f.obstacle(h, sshObstacle{Setting: "MaxStartups", Value: v[0], Problem: "a single connection that has not logged in yet keeps all others out", Kind: "login"})
	}
	f.algorithms(h, conf)
	f.accountObstacles(h, conf, sshAccount{})
}

// hasIPv4Route reports whether the host has a default route of IPv4, and so clients that come by it.
func hasIPv4Route(h host.Files) bool {
	b, err := h.ReadFile("/proc/net/route")
	return err == nil && slices.ContainsFunc(strings.Split(string(b), "\n"), func(line string) bool {
		f := strings.Fields(line)
		return len(f) > 2 && f[1] == "00000000"
	})
}

// sshAccount is an account as settings see it. The empty one stands for everybody.
type sshAccount struct {
	row      []string // of passwd
	password string   // its state, as in accounts.logins; empty if it is not known
	keys     int
}

func (a *sshAccount) name() string {
	if a.row == nil {
		return ""
	}
	return a.row[pwName]
}

// accountObstacles looks at what a Match block may set for one account, too.
func (f *sshdFacts) accountObstacles(h host.Files, conf map[string][]string, a sshAccount) {
	if a.row != nil && a.keys == 0 && a.password != "set" {
		return // nobody's
	}
	value := func(key string) string {
		if v := conf[key]; len(v) > 0 && v[0] != "none" {
			return v[0]
		}
		return ""
	}
	add := func(setting, kind, problem string) {
		if problem != "" {
			f.obstacle(h, sshObstacle{Setting: setting, Value: strings.Join(conf[strings.ToLower(setting)], " "), Account: a.name(), Problem: problem, Kind: kind})
		}
	}
	if value("chrootdirectory") == "" { // within one, the path is another
		add("ForceCommand", "login", cmp.Or(notRunnable(h, value("forcecommand")), endsAtOnce(value("forcecommand"), a, value("permittty") == "yes")))
	}
	for _, setting := range []string{"AuthorizedKeysCommand", "AuthorizedPrincipalsCommand"} {
		add(setting, "login", unsafeCommand(h, value(strings.ToLower(setting))))
	}
	if file := value("revokedkeys"); file != "" && gone(h, file) {
		add("RevokedKeys", "login", file+" does not exist: sshd then takes every key for revoked")
	}
	if file := value("trustedusercakeys"); file != "" && gone(h, file) {
		add("TrustedUserCAKeys", "certificate", file+" does not exist")
	}
	if n, err := strconv.Atoi(value("maxsessions")); err == nil && n < 1 {
		add("MaxSessions", "login", "no session may be opened, only tunnels")
	}
	if n, err := strconv.Atoi(value("maxauthtries")); err == nil && n < 1 {
		add("MaxAuthTries", "login", "the client's first question, which methods there are, is one try too many")
	}
	if n, err := strconv.Atoi(value("logingracetime")); err == nil && n > 0 && n < 5 {
		add("LoginGraceTime", "login", fmt.Sprintf("nobody logs in within %d s over a real network", n))
	}
	add("AuthenticationMethods", "login", impossibleMethods(conf, a))
	if a.row == nil {
		return
	}
	add("ChrootDirectory", "login", badChroot(h, value("chrootdirectory"), a.row))
	if a.keys > 0 && value("pubkeyauthentication") == "no" {
		if a.password == "locked" {
			add("PubkeyAuthentication", "login", "the account has keys, and no password that could take their place")
		} else {
			add("PubkeyAuthentication", "keys", "the account has keys, and they do not count; a password does")
		}
	}
}

// settingAt finds the line that first names a keyword; of several the first counts, and files of sshd_config.d are usually included first.
func settingAt(h host.Files, keyword string) string {
	files := []string{}
	if entries, err := h.ReadDir(sshdConfig + ".d"); err == nil {
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".conf") {
				files = append(files, sshdConfig+".d/"+e.Name)
			}
		}
	}
	for _, file := range append(files, sshdConfig) {
		b, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range bytes.Lines(b) {
			n++
			words := strings.FieldsFunc(string(line), func(r rune) bool { return r == ' ' || r == '\t' || r == '=' || r == '\n' || r == '\r' })
			if len(words) > 0 && strings.EqualFold(words[0], keyword) {
				return fmt.Sprintf("%s:%d", file, n)
			}
		}
	}
	return ""
}

func gone(h host.Files, name string) bool {
	there, known := exists(h, name).Get()
	return known && !there
}

// notRunnable says why a command line with a path in front cannot be run; "" if it can, or if the shell will find out.
func notRunnable(h host.Files, command string) string {
	program, _, _ := strings.Cut(strings.Trim(command, `"`), " ")
	if !strings.HasPrefix(program, "/") || strings.ContainsAny(program, "%$") {
		return ""
	}
	switch may, known := executable(h, program).Get(); {
	case known && gone(h, program):
		return program + " does not exist"
	case known && !may:
		return program + " may not be executed"
	}
	return ""
}

// endsAtOnce says that a command lets nobody do anything; where terminals are refused too, the account is meant for tunnels.
func endsAtOnce(command string, a sshAccount, terminal bool) string {
	if terminal && (a.row == nil || letsIn(a.row[pwShell])) && slices.Contains([]string{"false", "true", "nologin"}, path.Base(command)) {
		return "each login is ended at once by it, whatever the account's shell is"
	}
	return ""
}

// unsafeCommand applies subprocess of OpenSSH's misc.c: the program and the directories above it must belong to root, and nobody else may write there.
func unsafeCommand(h host.Files, command string) string {
	if problem := notRunnable(h, command); problem != "" {
		return problem
	}
	program, _, _ := strings.Cut(strings.Trim(command, `"`), " ")
	if !strings.HasPrefix(program, "/") || strings.ContainsAny(program, "%$") {
		return ""
	}
	return notRootsAlone(h, program, "sshd does not run it")
}

// badChroot applies safely_chroot of OpenSSH's session.c: each part of the path must be root's, and nobody else may write there.
func badChroot(h host.Files, dir string, user []string) string {
	if dir == "" {
		return ""
	}
	dir = path.Clean(strings.NewReplacer("%%", "%", "%h", user[pwHome], "%u", user[pwName], "%U", user[pwUID]).Replace(dir))
	if gone(h, dir) {
		return dir + " does not exist"
	}
	return notRootsAlone(h, dir, "sshd ends the session")
}

func notRootsAlone(h host.Files, name, so string) string {
	for at := name; strings.HasPrefix(at, "/"); at = path.Dir(at) {
		fi, err := h.Stat(at)
		if err != nil {
			return ""
		}
		if fi.UID != 0 || fi.Mode.Perm()&0o022 != 0 {
			return fmt.Sprintf("%s has owner %d and mode %04o; it must be root's, and nobody else's to write: %s", at, fi.UID, fi.Mode.Perm(), so)
		}
		if at == "/" {
			return ""
		}
	}
	return ""
}

// impossibleMethods says why no list of AuthenticationMethods can be gone through to its end.
func impossibleMethods(conf map[string][]string, a sshAccount) string {
	yes := func(key string) bool { return slices.Equal(conf[key], []string{"yes"}) }
	lists := strings.Fields(strings.Join(conf["authenticationmethods"], " "))
	why := ""
	for _, list := range lists {
		obstacle := ""
		for method := range strings.SplitSeq(list, ",") {
			switch name, _, _ := strings.Cut(method, ":"); {
			case name == "password" && !yes("passwordauthentication"), name == "publickey" && !yes("pubkeyauthentication"),
				name == "keyboard-interactive" && !yes("kbdinteractiveauthentication") && !yes("challengeresponseauthentication"):
				obstacle = name + " is switched off"
			case name == "password" && a.password == "locked":
				obstacle = name + " is asked for, and the account has none"
			}
		}
		if obstacle == "" {
			return ""
		}
		why = list + ": " + obstacle
	}
	return why
}

// today are the algorithms that OpenSSH's client has offered by default since 8.8 (ssh_config(5)); PuTTY and libssh know enough of them.
var today = map[string][]string{
	"Ciphers": {"chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"},
	"KexAlgorithms": {
		"mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com", "curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256",
		"ecdh-sha2-nistp384", "ecdh-sha2-nistp521", "diffie-hellman-group-exchange-sha256", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512", "diffie-hellman-group14-sha256",
	},
	"MACs": {
		"umac-64-etm@openssh.com", "umac-128-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha1-etm@openssh.com", "umac-64@openssh.com",
		"umac-128@openssh.com", "hmac-sha2-256", "hmac-sha2-512", "hmac-sha1",
	},
}

// ofHostKey are the signatures that a kind of host key can make and that clients take.
var ofHostKey = map[string][]string{
	"ssh-ed25519": {"ssh-ed25519"}, "ssh-rsa": {"rsa-sha2-512", "rsa-sha2-256"},
	"ecdsa-sha2-nistp256": {"ecdsa-sha2-nistp256"}, "ecdsa-sha2-nistp384": {"ecdsa-sha2-nistp384"}, "ecdsa-sha2-nistp521": {"ecdsa-sha2-nistp521"},
}

// algorithms looks for a kind of algorithm of which today's clients know none that is offered.
func (f *sshdFacts) algorithms(h host.Files, conf map[string][]string) {
	for _, setting := range []string{"Ciphers", "KexAlgorithms", "MACs"} {
		v := conf[strings.ToLower(setting)]
		if len(v) == 0 {
			continue
		}
		offered := strings.Split(v[0], ",")
		ownMAC := setting == "MACs" && !slices.ContainsFunc(strings.Split(strings.Join(conf["ciphers"], ","), ","), func(c string) bool {
			return strings.HasSuffix(c, "-ctr") || strings.HasSuffix(c, "-cbc")
		}) // GCM and ChaCha20 bring their own
		if !ownMAC && !slices.ContainsFunc(offered, func(a string) bool { return slices.Contains(today[setting], a) }) {
			f.obstacle(h, sshObstacle{Setting: setting, Value: v[0], Problem: "no client of today offers any of these", Kind: "login"})
		}
	}
	v := conf["hostkeyalgorithms"]
	if len(v) == 0 {
		return
	}
	offered, kinds := strings.Split(v[0], ","), []string{}
	for _, file := range conf["hostkey"] {
		b, err := h.ReadFile(file + ".pub")
		kind, _, _ := strings.Cut(string(b), " ")
		if err != nil || ofHostKey[kind] == nil {
			if errors.Is(err, fs.ErrNotExist) && gone(h, file) {
				continue
			}
			return // a key that nobody knows here
		}
		kinds = append(kinds, kind)
		if slices.ContainsFunc(ofHostKey[kind], func(a string) bool { return slices.Contains(offered, a) }) {
			return
		}
	}
	if len(kinds) > 0 {
		f.obstacle(h, sshObstacle{Setting: "HostKeyAlgorithms", Value: v[0], Problem: "none of the host keys is of these kinds: " + strings.Join(kinds, ", "), Kind: "login"})
	}
}

// locked says whether sshd itself turns an account away whose password is locked: it does where PAM is not asked (auth.c, allowed_user).
func (f *sshdFacts) locked(h host.Files, conf map[string][]string, a sshAccount, shadow string) {
	if slices.Equal(conf["usepam"], []string{"no"}) && strings.HasPrefix(shadow, "!") && a.keys > 0 {
		f.obstacle(h, sshObstacle{
			Setting: "UsePAM", Value: "no", Account: a.name(), Kind: "login",
			Problem: "without PAM sshd takes a password that begins with ! for a locked account, and refuses its keys too",
		})
	}
}

// passwords reads shadow's second column; nil if it cannot be read.
func passwords(h host.Files) map[string]string {
	rows, _, err := readColons(h, "/etc/shadow", 9)
	if err != nil {
		return nil
	}
	m := map[string]string{}
	for _, row := range rows {
		m[row[spName]] = row[spPassword]
	}
	return m
}

// keyOptions are what stands before a key in authorized_keys, as far as it may keep its owner out.
type keyOptions struct {
	where, from, expires, command string
	tunnel                        bool // meant for forwarding only
}

// parseKeyOptions splits from="…",command="…",expiry-time="…",no-pty at the commas outside of quotes.
func parseKeyOptions(text string) keyOptions {
	var o keyOptions
	quoted, from := false, 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) {
			switch {
			case text[i] == '\\':
				i++
				continue
			case text[i] == '"':
				quoted = !quoted
				continue
			case quoted || text[i] != ',':
				continue
			}
		}
		name, value, _ := strings.Cut(text[min(from, len(text)):min(i, len(text))], "=")
		value = strings.ReplaceAll(strings.Trim(value, `"`), `\"`, `"`)
		switch strings.ToLower(name) {
		case "from":
			o.from = value
		case "expiry-time":
			o.expires = value
		case "command":
			o.command = value
		case "restrict", "no-pty", "permitopen", "permitlisten", "tunnel":
			o.tunnel = true
		}
		from = i + 1
	}
	return o
}

// restricted says why none of an account's keys lets it in from wherever: each is bound to addresses, has expired, or runs a command that is not there.
func (u *sshUser) restricted(h host.Host, keys []keyOptions) {
	now := h.Now().UTC().Format("20060102150405")
	var why []string
	for _, k := range keys {
		problem, expires := "", strings.TrimSuffix(k.expires, "Z")
		switch {
		case len(expires) >= 8 && expires+"00000000000000"[:max(0, 14-len(expires))] < now:
			problem, u.KeysDead = "expired on "+expires[:8], u.KeysDead+1
		case notRunnable(h, k.command) != "":
			problem, u.KeysDead = notRunnable(h, k.command), u.KeysDead+1
		case !k.tunnel && slices.Contains([]string{"false", "true", "nologin"}, path.Base(k.command)):
			problem, u.KeysDead = "runs "+k.command+", which ends at once", u.KeysDead+1
		case k.from != "":
			problem, u.KeysFrom = "only from "+k.from, append(u.KeysFrom, k.from)
		default:
			continue
		}
		why = append(why, k.where+": "+problem)
	}
	u.KeysBound = why
}

// unreadableTo says which of a file and the directories above it an account cannot get through: sshd reads the keys with the account's own rights.
func unreadableTo(h host.Files, file string, user, groups []string, gids map[string]int) string {
	for at := file; strings.HasPrefix(at, "/"); at = path.Dir(at) {
		fi, err := h.Stat(at)
		if err != nil {
			return ""
		}
		need := fs.FileMode(0o1)
		if at == file {
			need = 0o4
		}
		perm := fi.Mode.Perm()
		switch {
		case strconv.Itoa(fi.UID) == user[pwUID]:
			perm >>= 6
		case slices.ContainsFunc(groups, func(g string) bool { return gids[g] == fi.GID }):
			perm >>= 3
		}
		if perm&need == 0 && user[pwUID] != "0" && (fi.Mode.Perm()&0o070 == 0) { // the group's bits are an access list's mask, which may name the account
			return at
		}
		if at == "/" {
			break
		}
	}
	return ""
}
