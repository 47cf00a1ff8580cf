package linux

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path"
	"slices"
	"strconv"
	"strings"

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
	Forced    int             `fact:"keys_forced" unit:"count" doc:"Keys that run one command only (command=)"`
	Files     []string        `fact:"keys_files" doc:"Where sshd looks for its keys"`
	Unused    []string        `fact:"keys_unused" doc:"~/.ssh/authorized_keys or authorized_keys2, if keys are there and sshd does not look there"`
	Command   bool            `fact:"keys_command" doc:"An AuthorizedKeysCommand, or a CA for user certificates, may bring keys too"`

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
	matches := configMatches(h)
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
			own = f.matched(ctx, h, conf, row[pwName])
		}
		u := sshUser{Name: row[pwName], UID: uid, Refused: refusedBy(own, row, groupsOf(row, groups))}
		u.methods(own)
		u.keys(h, own, row, groups)
		f.Users.All = append(f.Users.All, u)
	}
	return nil
}

// configMatches reports whether a Match block is in the configuration: then each account may have another one.
func configMatches(h host.Files) bool {
	files := []string{sshdConfig}
	if entries, err := h.ReadDir("/etc/ssh/sshd_config.d"); err == nil {
		for _, e := range entries {
			files = append(files, "/etc/ssh/sshd_config.d/"+e.Name)
		}
	}
	return slices.ContainsFunc(files, func(name string) bool {
		b, err := h.ReadFile(name)
		return err == nil && slices.ContainsFunc(strings.Split(strings.ToLower(string(b)), "\n"), func(line string) bool {
			return strings.HasPrefix(strings.TrimSpace(line), "match")
		})
	})
}

// matched asks for the configuration of one account that comes from a private address.
func (f *sshdFacts) matched(ctx context.Context, h host.Host, conf map[string][]string, user string) map[string][]string {
	out, err := h.Run(ctx, "sshd", "-T", "-C", "user="+user+",host=client.invalid,addr=10.0.0.1")
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
// fits some addresses: for AllowUsers it counts as fitting, for DenyUsers as not.
func refusedBy(conf map[string][]string, user, groups []string) string {
	words := func(key string) []string { return strings.Fields(strings.Join(conf[key], " ")) }
	userFits := func(pattern string, anywhere bool) bool {
		name, from, limited := strings.Cut(pattern, "@")
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
func (u *sshUser) keys(h host.Files, conf map[string][]string, user []string, groups [][]string) {
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
			if !errors.Is(err, fs.ErrNotExist) {
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
