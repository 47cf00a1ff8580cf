package linux

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// sshUser is what sshd makes of an account before it looks at the key that somebody offers.
type sshUser struct {
	Name    string           `fact:"name,key" doc:"Name of the account"`
	UID     int              `fact:"uid" unit:"uid" doc:"User id"`
	Refused string           `fact:"refused_by" doc:"The setting that keeps it out from wherever: AllowUsers, DenyUsers, AllowGroups, DenyGroups or PermitRootLogin; empty if none does"`
	Pubkey  probes.Opt[bool] `fact:"pubkey" doc:"It may log in by key: PubkeyAuthentication"`
	Secret  probes.Opt[bool] `fact:"password" doc:"It may log in by password: PasswordAuthentication or KbdInteractiveAuthentication, and PermitRootLogin"`

	Keys      probes.Opt[int] `fact:"keys" unit:"count" doc:"Keys in the files where sshd looks for them"`
	Usable    probes.Opt[int] `fact:"keys_accepted" unit:"count" doc:"Of these, keys of a kind that sshd accepts (PubkeyAcceptedAlgorithms, RequiredRSASize)"`
	Refusals  []string        `fact:"keys_refused" doc:"The kinds of the others: ssh-dss, or ssh-rsa of 1024 bits"`
	Malformed []string        `fact:"malformed" doc:"Lines of these files that hold no key, as FILE:LINE"`
	Dumped    []string        `fact:"keys_dumped" doc:"Of these files, those that a Redis server wrote as its data: how whoever reaches it without a password lets himself in"`
	KeysBound []string        `fact:"keys_bound" doc:"What stands before keys and keeps their owner out, as FILE:LINE: only from 10.0.0.0/8, expired, or a command that is not there"`
	KeysFrom  []string        `fact:"keys_from" doc:"The address lists of keys that are bound to some (from=)"`
	KeysDead  int             `fact:"keys_dead" unit:"count" doc:"Keys that have expired (expiry-time=) or whose command (command=) does not exist"`
	Forced    int             `fact:"keys_forced" unit:"count" doc:"Keys that run one command only (command=)"`
	Files     []string        `fact:"keys_files" doc:"Where sshd looks for its keys"`
	Unused    []string        `fact:"keys_unused" doc:"~/.ssh/authorized_keys or authorized_keys2, if keys are there and sshd does not look there"`
	Command   bool            `fact:"keys_command" doc:"An AuthorizedKeysCommand, or a CA for user certificates, may bring keys too"`

	RefusedFrom string `fact:"refused_from" doc:"An address from which somebody has logged in lately, or offered the right key, and from which this account does not get in; empty if there is none, or nothing depends on addresses"`
	RefusedThen string `fact:"refused_from_by" doc:"With refused_from: the setting, or from= of its keys"`

	Untrusted string `fact:"untrusted" doc:"The file or directory for whose mode or owner sshd does not believe the keys (StrictModes); empty if there is none"`
	Why       string `fact:"untrusted_why" doc:"With untrusted: what is wrong with it"`
}

// maxSSHUsers bounds what is looked at: some ten files for each.
const maxSSHUsers = 50

// maxMatched bounds how often sshd -T runs for the sake of Match blocks, 3 ms each time.
const maxMatched = 5

func (f *sshdFacts) users(ctx context.Context, h host.Host, conf map[string][]string) {
	if conf == nil {
		f.Users.Why = "there is no effective configuration"
		return
	}
	users, _, err := readColons(h, "/etc/passwd", 7)
	if err == nil {
		err = f.eachUser(ctx, h, conf, users)
	}
	if err != nil {
		f.Users = probes.Cut[sshUser]{More: 1, Why: err.Error()}
	}
}

func (f *sshdFacts) eachUser(ctx context.Context, h host.Host, conf map[string][]string, users [][]string) error {
	groups, _, err := readColons(h, "/etc/group", 4)
	if err != nil {
		return err
	}
	matches, shadow, gids := configHas(h, anyBlock), passwords(h), map[string]int{}
	for _, g := range groups {
		if n, err := strconv.Atoi(g[2]); err == nil {
			gids[g[0]] = n
		}
	}
	for _, row := range users {
		uid, err := strconv.Atoi(row[pwUID])
		if err != nil || !letsIn(row[pwShell]) || uid != 0 && (uid < 1000 || uid > 60000) {
			continue
		}
		if len(f.Users.All) == maxSSHUsers {
			f.Users.More++
			continue
		}
		own := conf
		if matches && len(f.Users.All) < maxMatched {
			own = f.matched(ctx, h, conf, row[pwName], "10.0.0.1")
		}
		u := sshUser{Name: row[pwName], UID: uid, Refused: refusedBy(own, row, groupsOf(row, groups), netip.Addr{})}
		u.methods(own)
		u.keys(h, own, row, groups)
		if u.Untrusted == "" && !u.Command {
			u.closed(h, row, groupsOf(row, groups), gids)
		}
		f.Users.All = append(f.Users.All, u)
		a := sshAccount{row: row}
		a.keys, _ = u.Keys.Get()
		if secret, ok := shadow[row[pwName]]; ok {
			a.password = passwordState(secret)
		}
		f.accountObstacles(h, own, a)
		f.locked(h, own, a, shadow[row[pwName]])
	}
	f.byAddress(ctx, h, conf, users, groups)
	return nil
}

// byAddress tries the accounts from where people come, if the answer depends on that.
func (f *sshdFacts) byAddress(ctx context.Context, h host.Host, conf map[string][]string, users, groups [][]string) {
	blocks := configHas(h, addressBlock)
	listed := slices.ContainsFunc([]string{"allowusers", "denyusers"}, func(key string) bool { return strings.Contains(strings.Join(conf[key], " "), "@") })
	asked := 0
	for i := range f.Users.All {
		u := &f.Users.All[i]
		if keys, _ := u.Keys.Get(); keys == 0 || u.Refused != "" {
			continue
		}
		if len(u.KeysFrom) > 0 && len(u.KeysBound) == u.keyCount() {
			u.RefusedFrom, u.RefusedThen = refusedKey(ctx, h, u.Name)
		}
		row := users[slices.IndexFunc(users, func(r []string) bool { return r[pwName] == u.Name })]
		if !blocks && !listed || u.RefusedFrom != "" {
			continue
		}
		logins, _ := sshLogins(ctx, h)
		for _, l := range logins[:min(len(logins), 2)] {
			own := conf
			if asked++; blocks && asked <= maxMatched {
				own = f.matched(ctx, h, conf, u.Name, l.from.String())
			}
			if by := refusedBy(own, row, groupsOf(row, groups), l.from); by != "" && by != "PermitRootLogin" {
				u.RefusedFrom, u.RefusedThen = l.from.String(), by
				break
			}
		}
	}
}

func (u *sshUser) keyCount() int {
	n, _ := u.Keys.Get()
	return n
}

// correctKey is what sshd logs of a key that is right and whose from= does not fit (auth_authorise_keyopts of OpenSSH's auth.c).
var correctKey = regexp.MustCompile(`Authentication tried for (\S+) with correct key but not from a permitted host \(host=[^,]*, ip=([^,)]+)`)

func refusedKey(ctx context.Context, h host.Host, user string) (from, by string) {
	lines, _ := sshLog(ctx, h)
	for _, line := range slices.Backward(lines) {
		m := correctKey.FindStringSubmatch(line)
		if at, ok := lineTime(line, h.Now()); m != nil && m[1] == user && ok && h.Now().Sub(at) < 24*time.Hour {
			return m[2], "from="
		}
	}
	return "", ""
}

var (
	anyBlock     = regexp.MustCompile(`(?im)^\s*match\s`)
	addressBlock = regexp.MustCompile(`(?im)^\s*match\s.*\b(?:address|host)\b`)
)

// configHas looks for a Match block: with one each account, or client, may have a configuration of its own.
func configHas(h host.Files, block *regexp.Regexp) bool {
	files := []string{sshdConfig}
	if entries, err := h.ReadDir("/etc/ssh/sshd_config.d"); err == nil {
		for _, e := range entries {
			files = append(files, "/etc/ssh/sshd_config.d/"+e.Name)
		}
	}
	return slices.ContainsFunc(files, func(name string) bool {
		b, err := h.ReadFile(name)
		return err == nil && block.Match(b)
	})
}

// matched asks for the configuration of one account that comes from an address.
func (f *sshdFacts) matched(ctx context.Context, h host.Host, conf map[string][]string, user, addr string) map[string][]string {
	out, err := h.Run(ctx, "sshd", "-T", "-C", "user="+user+",host=client.invalid,addr="+addr)
	if err != nil || out.Exit != 0 {
		return conf
	}
	return parseSshdT(string(out.Stdout))
}

func parseSshdT(text string) map[string][]string {
	conf := map[string][]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		conf[key] = append(conf[key], value)
	}
	return conf
}

// groupsOf lists an account's groups: that of passwd, and those that name it.
func groupsOf(user []string, groups [][]string) []string {
	var in []string
	for _, g := range groups {
		if g[2] == user[pwGID] || slices.Contains(strings.Split(g[3], ","), user[pwName]) {
			in = append(in, g[0])
		}
	}
	return in
}

// refusedBy applies allowed_user of OpenSSH's auth.c: DenyUsers, AllowUsers, DenyGroups, AllowGroups, in this order. A pattern USER@HOST
// fits some addresses: where none is given it counts for AllowUsers as fitting, for DenyUsers as not.
func refusedBy(conf map[string][]string, user, groups []string, client netip.Addr) string {
	words := func(key string) []string { return strings.Fields(strings.Join(conf[key], " ")) }
	userFits := func(pattern string, anywhere bool) bool {
		name, from, limited := strings.Cut(pattern, "@")
		if client.IsValid() && limited && !strings.ContainsFunc(from, unicode.IsLetter) { // a name may be the client's, for all that is known here
			anywhere = glob(from, client.String()) || inNetwork(client, from) == yes
		}
		return glob(name, user[pwName]) && (!limited || from == "*" || anywhere)
	}
	listed := func(key string, anywhere bool) bool {
		return slices.ContainsFunc(words(key), func(p string) bool { return userFits(p, anywhere) })
	}
	inGroup := func(key string) bool {
		return slices.ContainsFunc(groups, func(g string) bool {
			return slices.ContainsFunc(words(key), func(p string) bool { return glob(p, g) })
		})
	}
	switch {
	case listed("denyusers", false):
		return "DenyUsers"
	case len(words("allowusers")) > 0 && !listed("allowusers", true):
		return "AllowUsers"
	case inGroup("denygroups"):
		return "DenyGroups"
	case len(words("allowgroups")) > 0 && !inGroup("allowgroups"):
		return "AllowGroups"
	case user[pwUID] == "0" && slices.Equal(conf["permitrootlogin"], []string{"no"}):
		return "PermitRootLogin"
	}
	return ""
}

// glob matches * and ? as OpenSSH's match_pattern does; a pattern that begins with ! fits nothing here.
func glob(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := 0; i <= len(s); i++ {
				if glob(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
		default:
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

func (u *sshUser) methods(conf map[string][]string) {
	yes := func(key string) bool { return slices.Equal(conf[key], []string{"yes"}) }
	u.Pubkey = probes.Some(yes("pubkeyauthentication"))
	root := ""
	if v := conf["permitrootlogin"]; u.UID == 0 && len(v) > 0 {
		root = v[0]
	}
	u.Secret = probes.Some((root == "" || root == "yes") &&
		(yes("passwordauthentication") || yes("kbdinteractiveauthentication") || yes("challengeresponseauthentication")))
	for _, key := range []string{"authorizedkeyscommand", "trustedusercakeys"} {
		u.Command = u.Command || len(conf[key]) > 0 && conf[key][0] != "none"
	}
}

// keys looks into the files where sshd looks for an account's keys.
func (u *sshUser) keys(h host.Host, conf map[string][]string, user []string, groups [][]string) {
	strict := !slices.Equal(conf["strictmodes"], []string{"no"})
	home := user[pwHome]
	replace := strings.NewReplacer("%%", "%", "%h", home, "%u", user[pwName], "%U", user[pwUID])
	counted := keyCount{accepted: acceptedKeys(conf), rsaBits: 1024} // SSH_RSA_MINIMUM_MODULUS_SIZE
	if v := conf["requiredrsasize"]; len(v) > 0 {                    // since OpenSSH 9.1
		if n, err := strconv.Atoi(v[0]); err == nil {
			counted.rsaBits = n
		}
	}
	unread := ""
	for file := range strings.FieldsSeq(strings.Join(conf["authorizedkeysfile"], " ")) {
		if file = replace.Replace(file); file == "none" {
			continue
		} else if !strings.HasPrefix(file, "/") {
			file = home + "/" + file
		}
		file = path.Clean(file)
		u.Files = append(u.Files, file)
		b, err := h.ReadFile(file)
		if err != nil {
			u.unusable(h, file)
			if !errors.Is(err, fs.ErrNotExist) && u.Why == "" {
				unread = err.Error()
			}
			continue
		}
		if strings.HasPrefix(string(b), "REDIS00") { // an RDB file's magic and version, rdb.c
			u.Dumped = append(u.Dumped, file)
		}
		counted.read(file, string(b))
		if strict && u.Untrusted == "" {
			u.Untrusted, u.Why = untrusted(h, file, user, groups)
		}
	}
	u.Keys, u.Usable = probes.Some(counted.keys), probes.Some(counted.usable)
	if unread != "" {
		u.Keys, u.Usable = probes.Unread[int](unread), probes.Unread[int](unread)
	}
	u.Refusals, u.Malformed, u.Forced = counted.refused, counted.malformed, counted.forced
	u.restricted(h, counted.options)
	for _, name := range []string{"authorized_keys", "authorized_keys2"} {
		file := path.Clean(home + "/.ssh/" + name)
		if slices.Contains(u.Files, file) {
			continue
		}
		if b, err := h.ReadFile(file); err == nil {
			other := keyCount{}
			if other.read(file, string(b)); other.keys > 0 {
				u.Unused = append(u.Unused, file)
			}
		}
	}
}

// unusable notes what stands where a file of keys should be: a link that leads nowhere, or a directory.
func (u *sshUser) unusable(h host.Files, file string) {
	fi, err := h.Lstat(file)
	if err != nil || u.Untrusted != "" {
		return
	}
	if target, err := h.Readlink(file); err == nil && gone(h, file) {
		u.Untrusted, u.Why = file, "it is a link to "+target+", which is not there"
	} else if fi.Mode.IsDir() {
		u.Untrusted, u.Why = file, "it is a directory"
	}
}

// closed finds a file of keys that sshd, which reads it with the account's rights, may not read.
func (u *sshUser) closed(h host.Files, user, groups []string, gids map[string]int) {
	for _, file := range u.Files {
		if at := unreadableTo(h, file, user, groups, gids); at != "" {
			u.Untrusted, u.Why = at, "the account itself may not read it, and sshd reads it with the account's rights"
			return
		}
	}
}

// untrusted applies safe_path of OpenSSH's misc.c: the file and every directory up to the home, or to the root if the file is not below the
// home, must belong to the account or to root, and nobody else may write there. Debian's sshd also trusts what the account's own group may
// write if nobody else is in that group (its patch user-group-modes): it is trusted here on every system, for the sake of silence.
func untrusted(h host.Files, file string, user []string, groups [][]string) (name, why string) {
	home := path.Clean(user[pwHome])
	for at := file; ; at = path.Dir(at) {
		fi, err := h.Stat(at)
		if err != nil {
			return "", ""
		}
		perm := fi.Mode.Perm()
		switch {
		case fi.UID != 0 && strconv.Itoa(fi.UID) != user[pwUID]:
			return at, fmt.Sprintf("it belongs to uid %d, neither the account nor root", fi.UID)
		case perm&0o002 != 0:
			return at, fmt.Sprintf("everybody may write it (mode %04o)", perm)
		case perm&0o020 != 0 && !privateGroup(fi.GID, user, groups):
			return at, fmt.Sprintf("its group may write it (mode %04o)", perm)
		}
		if at == home || at == "/" || at == "." {
			return "", ""
		}
	}
}

// privateGroup reports whether a group is the account's own and has nobody else in it.
func privateGroup(gid int, user []string, groups [][]string) bool {
	if strconv.Itoa(gid) != user[pwGID] {
		return false
	}
	for _, g := range groups {
		if g[2] == user[pwGID] {
			return g[3] == "" || g[3] == user[pwName]
		}
	}
	return false
}

// acceptedKeys is the list of what sshd accepts: PubkeyAcceptedKeyTypes until OpenSSH 8.4. nil means that nobody knows.
func acceptedKeys(conf map[string][]string) []string {
	for _, key := range []string{"pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"} {
		if v := conf[key]; len(v) > 0 {
			return strings.Split(v[0], ",")
		}
	}
	return nil
}

// keyCount counts the keys of authorized_keys files.
type keyCount struct {
	accepted     []string
	rsaBits      int // the least that an RSA key must have
	keys, usable int
	forced       int
	options      []keyOptions
	refused      []string
	malformed    []string
}

// keyTypes begin a key; in front of it there may be options. AUTHORIZED_KEYS FILE FORMAT of sshd(8).
var keyTypes = []string{
	"ssh-ed25519", "ssh-rsa", "ssh-dss", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
}

// maxMalformed bounds how many wrong lines are named.
const maxMalformed = 5

func (c *keyCount) read(file, text string) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		kind, blob, options := authorizedKey(line)
		if kind == "" {
			if strings.Contains(line, "-cert-v01@openssh.com") {
				continue
			}
			if len(c.malformed) < maxMalformed {
				c.malformed = append(c.malformed, fmt.Sprintf("%s:%d", file, n))
			}
			continue
		}
		c.keys++
		if strings.Contains(options, "command=") {
			c.forced++
		}
		o := parseKeyOptions(options)
		o.where = fmt.Sprintf("%s:%d", file, n)
		c.options = append(c.options, o)
		if said := c.refuses(kind, blob); said == "" {
			c.usable++
		} else if !slices.Contains(c.refused, said) {
			c.refused = append(c.refused, said)
		}
	}
}

// authorizedKey splits "[options] TYPE BASE64 [comment]". A key that was redacted in a capture is whole.
func authorizedKey(line string) (kind, blob, options string) {
	rest, quoted := line, false
	for {
		word := rest
		escaped := false
		end := strings.IndexFunc(rest, func(r rune) bool {
			if r == '"' && !escaped {
				quoted = !quoted
			}
			escaped = r == '\\'
			return !quoted && (r == ' ' || r == '\t')
		})
		if end < 0 {
			return "", "", ""
		}
		word, rest = rest[:end], strings.TrimLeft(rest[end:], " \t")
		if slices.Contains(keyTypes, word) {
			blob, _, _ = strings.Cut(rest, " ")
			if strings.HasPrefix(blob, "<redacted") {
				return word, "", options
			}
			raw, err := base64.StdEncoding.DecodeString(blob)
			if fields := keyFields(raw); err != nil || len(fields) < 2 || fields[0] != word {
				return "", "", ""
			}
			return word, string(raw), options
		}
		if options != "" { // only one word of options comes before the type
			return "", "", ""
		}
		options = word
	}
}

// refuses says why sshd would not take a key of this kind, "" if it would. An RSA key signs with SHA-2 too, since OpenSSH 7.2.
func (c *keyCount) refuses(kind, blob string) string {
	if c.accepted != nil {
		names := []string{kind}
		if kind == "ssh-rsa" {
			names = []string{"ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"}
		}
		if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(c.accepted, name) }) {
			return kind
		}
	}
	if bits := rsaBits(kind, blob); bits > 0 && bits < c.rsaBits {
		return fmt.Sprintf("ssh-rsa of %d bits", bits)
	}
	return ""
}

// keyFields are the parts of a key, each of which comes after its length: its type, then numbers; RFC 4253, 6.6. nil if it is cut short.
func keyFields(b []byte) []string {
	var fields []string
	for len(b) >= 4 {
		n := uint64(binary.BigEndian.Uint32(b))
		if b = b[4:]; uint64(len(b)) < n {
			return nil
		}
		fields, b = append(fields, string(b[:n])), b[n:]
	}
	if len(b) > 0 {
		return nil
	}
	return fields
}

// rsaBits is the length of an RSA key's modulus, which follows its type and exponent; 0 if it is none.
func rsaBits(kind, blob string) int {
	fields := keyFields([]byte(blob))
	if kind != "ssh-rsa" || len(fields) < 3 {
		return 0
	}
	return new(big.Int).SetBytes([]byte(fields[2])).BitLen()
}
