package host

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// Redacted is h without its secrets. Every answer goes through here before a probe sees it, so that facts, reports and captures
// cannot hold what was never there, and a replay of a capture sees exactly what the probes saw on the machine. What probes judge by
// stays: which kind of hash an account has, whether it is locked, line ends, the lines before and after.
//
// Where the form of an answer is known, only the fields that are known to be harmless pass (shadow, environment, keys, the metadata
// service's credentials). Everywhere else patterns look for secrets, which finds what looks like one and no more.
func Redacted(h Host) *Redactor {
	r := &Redactor{Host: h, found: map[finding]int{}}
	r.conceal, _ = h.(concealer)
	return r
}

// concealer knows secrets by their value.
type concealer interface{ Conceal(text string) string }

// Redactor is the Host that Redacted makes. It counts what it removed.
type Redactor struct {
	Host
	conceal concealer // nil: it knows none

	mu    sync.Mutex
	found map[finding]int
}

type finding struct{ what, where string }

// Removal is a kind of secret that was removed from one answer.
type Removal struct {
	What  string // "password hash"
	Where string // "/etc/shadow", "$ journalctl -k"
	Times int
}

// Removed lists what was removed so far, by kind and place. An answer that was given twice counts once.
func (r *Redactor) Removed() []Removal {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Removal
	for f, n := range r.found {
		all = append(all, Removal{What: f.what, Where: f.where, Times: n})
	}
	slices.SortFunc(all, func(a, b Removal) int {
		return strings.Compare(a.What+"\x00"+a.Where, b.What+"\x00"+b.Where)
	})
	return all
}

// text redacts an answer.
func (r *Redactor) text(where, text string, how func(*scrubber, string) string) string {
	s := scrubber{}
	text = how(&s, text)
	if r.conceal != nil {
		if clean := r.conceal.Conceal(text); clean != text {
			text = clean
			s.count("secret of a check")
		}
	}
	if len(s.found) > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		for what, n := range s.found {
			f := finding{what, where}
			r.found[f] = max(r.found[f], n)
		}
	}
	return text
}

// ReadFile returns the file without its secrets.
func (r *Redactor) ReadFile(name string) ([]byte, error) {
	b, err := r.Host.ReadFile(name)
	return r.file(name, b), err
}

// ReadTail returns the end of the file without its secrets.
func (r *Redactor) ReadTail(name string, limit int) ([]byte, error) {
	b, err := r.Host.ReadTail(name, limit)
	return r.file(name, b), err
}

func (r *Redactor) file(name string, b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	how := howFile(path.Clean(name))
	if how == nil {
		return b
	}
	text := unsafe.String(unsafe.SliceData(b), len(b)) // nobody writes to b meanwhile, and most files stay as they are
	if clean := r.text(name, text, how); clean != text {
		return []byte(clean)
	}
	return b
}

// howFile chooses how a file is redacted; nil: nobody's secret can be in it, since the kernel or the distribution made it.
func howFile(name string) func(*scrubber, string) string {
	base := path.Base(name)
	switch {
	case strings.HasPrefix(name, "/sys/"), strings.HasPrefix(name, "/var/lib/dpkg/"): // dpkg's is what the distribution publishes
		return nil
	case strings.HasPrefix(name, "/proc/"):
		switch base {
		case "environ":
			return (*scrubber).environment
		case "cmdline":
			return (*scrubber).commandLine
		case "mounts", "mountinfo": // the source of a FUSE mount may be a URL with a password in it
			return (*scrubber).lines
		}
		return nil
	}
	switch base {
	case "passwd", "passwd-", "shadow", "shadow-", "group", "group-", "gshadow", "gshadow-":
		return (*scrubber).accounts
	case "chrony.keys", "ntp.keys", ".netrc", ".pgpass", ".git-credentials", "krb5.keytab":
		return (*scrubber).everything
	}
	return (*scrubber).lines
}

// Run runs the command and returns its output without secrets.
func (r *Redactor) Run(ctx context.Context, argv ...string) (Output, error) {
	out, err := r.Host.Run(ctx, argv...)
	where := "$ " + strings.Join(argv, " ")
	out.Stdout = []byte(r.text(where, string(out.Stdout), (*scrubber).lines))
	out.Stderr = []byte(r.text(where, string(out.Stderr), (*scrubber).lines))
	return out, err
}

// credentialPath matches what a cloud's metadata service must not give away: tokens of roles, session tokens, and user data, which
// is a script that often sets passwords. The list of role names, which ends in a slash, is harmless.
// https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
var credentialPath = regexp.MustCompile(`(?is)/([ri]am/security-credentials/[^/]+|user-?data|vendor-?data|api/token|kms/.+)$`)

// givesCredentials reports whether a URL leads to credentials, by whichever of its spellings: %2D is a hyphen, // and /./ are a /.
func givesCredentials(raw string) bool {
	u, err := url.Parse(raw)
	return err != nil || credentialPath.MatchString(path.Clean("/"+u.Path))
}

// Get fetches a URL and returns the answer without secrets.
func (r *Redactor) Get(ctx context.Context, address string, header map[string]string) (HTTPAnswer, error) {
	a, err := r.Host.Get(ctx, address, header)
	how := (*scrubber).lines
	if givesCredentials(address) && a.Status == 200 {
		how = (*scrubber).everything
	}
	a.Body = r.text("get "+address, a.Body, how)
	return a, err
}

// Check asks what an operator declared and returns the answer without secrets.
func (r *Redactor) Check(ctx context.Context, c Check) (CheckAnswer, error) {
	a, err := r.Host.Check(ctx, c)
	a.clean(func(text string) string { return r.text("check "+c.Name, text, (*scrubber).lines) })
	return a, err
}

// Exchange asks a service and returns its answer without secrets.
func (r *Redactor) Exchange(ctx context.Context, q Question) (Reply, error) {
	a, err := r.Host.Exchange(ctx, q)
	a.Text = r.text("ask "+q.Socket, a.Text, (*scrubber).lines)
	return a, err
}

// Redact removes from a text what looks like a secret. It is for texts that did not come through [Redacted].
func Redact(text string) string { return (&scrubber{}).lines(text) }

// gone stands for what was removed. A second pass leaves it as it is.
const gone = "<redacted>"

// scrubber redacts one answer.
type scrubber struct{ found map[string]int }

func (s *scrubber) count(what string) {
	if s.found == nil {
		s.found = map[string]int{}
	}
	s.found[what]++
}

func (s *scrubber) everything(text string) string {
	if text != "" && text != gone {
		s.count("whole answer")
	}
	return gone
}

// accounts redacts passwd, shadow, group and gshadow: the second field stays what it is (locked, empty, elsewhere, which kind of hash),
// but not the hash. A line of another form is redacted like any text; the usual ones are not, for an account may be called "token".
func (s *scrubber) accounts(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !account.MatchString(line) {
			b.WriteString(s.lines(line))
			continue
		}
		f := strings.SplitN(line, ":", 3)
		f[1] = s.hash(f[1])
		b.WriteString(strings.Join(f, ":"))
	}
	return b.String()
}

// account is a line of passwd(5), shadow(5), group(5) or gshadow(5).
var account = regexp.MustCompile(`^[+-]?[A-Za-z_][A-Za-z0-9_.$-]*:[^:]*:([0-9]+:[0-9]+:[^:]*:[^:]*:[^:]*|[0-9]*(:[0-9-]*){5}:[^:]*|[A-Za-z0-9_.,$-]*:[A-Za-z0-9_.,$-]*)\r?\n?$`)

// hashScheme is what comes before the hash itself: "!" of a locked one and "$6$" (crypt(5)).
var hashScheme = regexp.MustCompile(`^[!*]*(\$[A-Za-z0-9_-]+\$)?`)

func (s *scrubber) hash(field string) string {
	switch strings.TrimLeft(field, "!*") {
	case "", "x", gone:
		return field
	}
	scheme := hashScheme.FindString(field)
	if field != scheme+gone {
		s.count("password hash")
	}
	return scheme + gone
}

// harmless are environment variables that say nothing secret.
var harmless = []string{
	"HOME", "HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM", "LANG", "LANGUAGE", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "TZ", "USER",
}

// environment redacts NAME=value pairs that end in NUL.
func (s *scrubber) environment(text string) string {
	pairs := strings.Split(text, "\x00")
	for i, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" || value == gone || slices.Contains(harmless, name) || strings.HasPrefix(name, "LC_") {
			continue
		}
		s.count("environment variable")
		pairs[i] = name + "=" + gone
	}
	return strings.Join(pairs, "\x00")
}

// commandLine redacts arguments that end in NUL: the words after an option that wants a secret, and what lines finds in each.
func (s *scrubber) commandLine(text string) string {
	args := strings.Split(text, "\x00")
	if len(args) == 1 { // the kernel's own, or a program that wrote over its arguments
		return s.lines(text)
	}
	wanted := false // the argument before wants this one
	for i, arg := range args {
		name, _, assigned := strings.Cut(arg, "=")
		switch {
		case wanted && arg != "" && arg != gone && !strings.HasPrefix(arg, "-"):
			s.count("command-line secret")
			args[i] = gone
		case i > 0 && len(arg) > 2 && arg[1] != '-' && arg[2:] != gone && wantsSecret(path.Base(args[0]), arg[:2]): // -pSECRET
			s.count("command-line secret")
			args[i] = arg[:2] + gone
		case assigned && secretName(name) && arg != name+"="+gone && arg != name+"=":
			s.count("command-line secret")
			args[i] = name + "=" + gone
		default:
			args[i] = s.lines(arg)
		}
		wanted = strings.HasPrefix(arg, "-") && !assigned && (secretName(arg) || i > 0 && wantsSecret(path.Base(args[0]), arg))
	}
	return strings.Join(args, "\x00")
}

// wantsSecret knows options of common programs whose name does not tell.
func wantsSecret(program, option string) bool {
	switch option {
	case "-p":
		return program == "sshpass" || program == "ldapsearch" || strings.HasPrefix(program, "mysql") || strings.HasPrefix(program, "mariadb")
	case "-u", "--user":
		return program == "curl" || program == "lftp"
	case "-U", "--proxy-user":
		return program == "curl"
	case "-a":
		return program == "redis-cli"
	case "-w":
		return program == "ldapsearch" || program == "ldapmodify" || program == "ldapadd"
	}
	return false
}

// nameOfSecret is the end of the name of an option, variable or key that holds a secret. What follows it may only say more of the same
// (…_ID, …_BASE64); password_file, tokens or secret_name are none.
const nameOfSecret = `(?:pass(?:word|wd|phrase|code)|secret|token|credentials?|(?:api|app|access|account|auth|crypt(?:ion)?|encryption|host|license|master|preshared|pre-shared|` +
	`private|secret|service|session|shared|signing|ssh|storage|wep|wpa)[._-]?key|(?:^|[._-])key[._-]?(?:secret|material|data)|signature|cookie|sessionid|requirepass|masterauth)` +
	`(?:[._-]?(?:id|key|secret|value|hash|data|text|base64|b64|plain|enc|old|new|[0-9]+))*`

// shortName are names that hold a secret only as a whole word, or after another one: -pass, MYSQL_PWD, sig=.
const shortName = `(?:[A-Za-z0-9]+[._-])*(?:pass|pwd|psk|sig|otp|pin|auth|passwds?|creds)`

var secretNames = regexp.MustCompile(`(?i)^-{0,2}(?:[A-Za-z0-9_.-]*` + nameOfSecret + `|` + shortName + `)$`)

func secretName(name string) bool {
	return name != "PWD" && name != "OLDPWD" && secretNames.MatchString(name)
}

// lines redacts what patterns find. It goes line by line, so that only lines with a hint of a secret cost a regular expression.
func (s *scrubber) lines(text string) string {
	text = s.pem(text)
	var b strings.Builder
	kept := 0 // text[:kept] is in b
	for from := 0; from < len(text); {
		to := from + chunk(text[from:])
		line := text[from:to]
		if clean := s.line(line); clean != line {
			b.WriteString(text[kept:from])
			b.WriteString(clean)
			kept = to
		}
		from = to
	}
	if kept == 0 {
		return text
	}
	b.WriteString(text[kept:])
	return b.String()
}

// pem removes the contents of PEM blocks, RFC 7468: private keys, and whatever else is wrapped so. Line breaks may be written out as in
// JSON. A block without an end goes as far as base64 does.
func (s *scrubber) pem(text string) string {
	const begin, end, dashes = "-----BEGIN ", "-----END ", "-----"
	var b strings.Builder
	kept, at, closed := 0, 0, true
	for {
		i := strings.Index(text[at:], begin)
		if i < 0 {
			break
		}
		at += i + len(begin)
		label := strings.Index(text[at:min(len(text), at+maxLabel)], dashes)
		if label < 0 {
			continue
		}
		from := at + label + len(dashes)
		to := -1
		if closed { // looked for once: without any further end there is none for the next block either
			to = strings.Index(text[from:], end)
			closed = to >= 0
		}
		if to < 0 {
			to = len(text[from:]) - len(strings.TrimLeftFunc(text[from:], func(r rune) bool {
				return r < 0x80 && isBase64(byte(r)) && r != '-' || r == '\\' || r == '\r' || r == '\n'
			}))
		}
		body := text[from : from+to]
		at = from + to
		lead, trail := edges(body)
		if inner := body[lead:trail]; inner != "" && !strings.HasPrefix(text[from+lead:], gone) {
			s.count("PEM block")
			b.WriteString(text[kept : from+lead])
			b.WriteString(gone)
			kept = from + trail
		}
	}
	if kept == 0 {
		return text
	}
	b.WriteString(text[kept:])
	return b.String()
}

// maxLabel is longer than what stands behind BEGIN: "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK".
const maxLabel = 64

// edges finds what is between the line breaks around a block's contents.
func edges(body string) (from, to int) {
	to = len(body)
	for _, br := range []string{"\r\n", "\n", `\n`} {
		if strings.HasPrefix(body, br) {
			from = len(br)
			break
		}
	}
	for _, br := range []string{"\r\n", "\n", `\n`} {
		if strings.HasSuffix(body[from:], br) {
			to -= len(br)
			break
		}
	}
	return from, to
}

// maxChunk bounds what one hint makes the patterns read: `nft -j` writes megabytes in one line.
const maxChunk = 4 << 10

// chunk is the length of the first line, or of its beginning up to the end of a JSON object.
func chunk(text string) int {
	n := strings.IndexByte(text, '\n') + 1
	if n == 0 {
		n = len(text)
	}
	if n > maxChunk {
		if i := strings.IndexByte(text[maxChunk:n], '}'); i >= 0 {
			return maxChunk + i + 1
		}
	}
	return n
}

func (s *scrubber) line(line string) string {
	if hints := hintsIn(line); hints != 0 {
		for i := range patterns {
			if p := &patterns[i]; p.hints&hints != 0 && (p.needs == nil || p.needs(line)) {
				line = s.replace(p, line)
			}
		}
	}
	return s.blobs(line)
}

// pattern is a form of secrets. Its first group comes before the secret and stays, the second is the secret, the third comes after it.
type pattern struct {
	what  string
	hints uint32 // any of these must be in the line
	re    *regexp.Regexp
	by    func(groups []string) string // nil: the first group, gone, the third
	needs func(line string) bool       // what else must be in the line, and costs less to see than to try the pattern; nil: nothing
}

func (s *scrubber) replace(p *pattern, text string) string {
	at := p.re.FindAllStringSubmatchIndex(text, -1)
	if at == nil {
		return text
	}
	var b strings.Builder
	kept := 0
	for _, m := range at {
		groups := make([]string, len(m)/2)
		for i := range groups {
			if m[2*i] >= 0 {
				groups[i] = text[m[2*i]:m[2*i+1]]
			}
		}
		by := p.replacement(groups)
		if by == groups[0] {
			continue
		}
		s.count(p.what)
		b.WriteString(text[kept:m[0]])
		b.WriteString(by)
		kept = m[1]
	}
	b.WriteString(text[kept:])
	return b.String()
}

func (p *pattern) replacement(groups []string) string {
	if p.by != nil {
		return p.by(groups)
	}
	switch len(groups) {
	case 1:
		return gone
	case 4:
		return groups[1] + gone + groups[3]
	default:
		return groups[1] + gone
	}
}

// The hints: what stands in a line, in small letters, whatever the case, before a pattern is tried.
const (
	hintName uint32 = 1 << iota
	hintURL
	hintToken
	hintJWT
	hintAuth
	hintHash
	hintSSH
	hintEnvironment
	hintIdentified
	hintProgram
	hintSaid
	hintLogin
	hintBearer
)

type hint struct {
	text string
	hint uint32
}

var hints = []hint{
	{"pass", hintName},
	{"pwd", hintName},
	{"secret", hintName},
	{"token", hintName},
	{"_key", hintName},
	{"-key", hintName},
	{".key", hintName},
	{"key ", hintName},
	{"apikey", hintName},
	{"accesskey", hintName},
	{"accountkey", hintName},
	{"privatekey", hintName},
	{"sharedkey", hintName},
	{"authkey", hintName},
	{"masterkey", hintName},
	{"sessionkey", hintName},
	{"sessionid", hintName},
	{"signingkey", hintName},
	{"encryptionkey", hintName},
	{"credential", hintName},
	{"cred", hintName},
	{"signature", hintName},
	{"cookie", hintName | hintAuth},
	{"auth", hintName | hintAuth},
	{"psk", hintName},
	{"sig=", hintName},
	{"otp", hintName},
	{"mysql", hintName | hintProgram},
	{"mariadb", hintName | hintProgram},
	{"lftp", hintName | hintProgram},
	{"sshpass", hintProgram},
	{"password ", hintSaid},
	{"passphrase ", hintSaid},
	{"passcode ", hintSaid},
	{"secret ", hintSaid},
	{"token ", hintSaid},
	{"key ", hintSaid},
	{"login ", hintLogin},
	{"requirepass", hintLogin},
	{"masterauth", hintLogin},
	{"pin=", hintName},
	{"pin:", hintName},
	{"bearer", hintBearer},
	{"basic", hintBearer},
	{"://", hintURL},
	{"@tcp(", hintURL},
	{"@unix(", hintURL},
	{"eyj", hintJWT},
	{"akia", hintToken},
	{"asia", hintToken},
	{"akid", hintToken},
	{"ltai", hintToken},
	{"tmp.", hintToken},
	{"sts.", hintToken},
	{"aiza", hintToken},
	{"gh", hintToken},
	{"glpat-", hintToken},
	{"xox", hintToken},
	{"xapp-", hintToken},
	{"sk-", hintToken},
	{"sk_", hintToken},
	{"rk_", hintToken},
	{"npm_", hintToken},
	{"hf_", hintToken},
	{"hvs.", hintToken},
	{"sg.", hintToken},
	{"dop_v1_", hintToken},
	{"pypi-", hintToken},
	{"ya29.", hintToken},
	{"age-secret-key-", hintToken},
	{"sq0", hintToken},
	{"$1$", hintHash},
	{"$2", hintHash},
	{"$5", hintHash},
	{"$6", hintHash},
	{"$7", hintHash},
	{"$y", hintHash},
	{"$gy", hintHash},
	{"$md5", hintHash},
	{"$sha1", hintHash},
	{"$apr1", hintHash},
	{"$p$", hintHash},
	{"$h$", hintHash},
	{"$s$", hintHash},
	{"$argon2", hintHash},
	{"$scrypt", hintHash},
	{"$pbkdf2", hintHash},
	{"{ss", hintHash},
	{"{sm", hintHash},
	{"{sha", hintHash},
	{"{crypt}", hintHash},
	{"ssh-", hintSSH},
	{"ecdsa-", hintSSH},
	{"environment=", hintEnvironment},
	{"identified ", hintIdentified},
}

// hintsIn finds the hints in a line with one pass.
func hintsIn(line string) uint32 {
	var found uint32
	for i := 0; i+1 < len(line); i++ {
		for _, h := range hintsByPair[hintPairs[line[i]][line[i+1]]] {
			if found&h.hint != h.hint && len(line)-i >= len(h.text) && strings.EqualFold(line[i:i+len(h.text)], h.text) {
				found |= h.hint
			}
		}
	}
	return found
}

// hintsByPair are the hints by the two letters that they begin with, small or capital, and hintPairs where each pair's lie; nearly
// no place of a text has such a pair, which lie at 0.
var hintPairs, hintsByPair = func() (pairs [256][256]uint8, by [][]hint) {
	by = [][]hint{nil}
	for _, h := range hints {
		at := pairs[h.text[0]][h.text[1]]
		if at == 0 {
			at = uint8(len(by))
			by = append(by, nil)
			for _, a := range bothCases(h.text[0]) {
				for _, b := range bothCases(h.text[1]) {
					pairs[a][b] = at
				}
			}
		}
		by[at] = append(by[at], h)
	}
	return pairs, by
}()

func bothCases(c byte) []byte {
	if c >= 'a' && c <= 'z' {
		return []byte{c, c - 'a' + 'A'}
	}
	return []byte{c}
}

// A value is in quotes (also escaped ones, as in JSON within JSON), or ends at white space.
const value = `(?:\\"(?:[^"\\]|\\[^"])*\\"|"(?:[^"\\]|\\.)*(?:"|$)|'[^']*(?:'|$)|[^\s"'\x00]+)`

var patterns = []pattern{
	{"environment variable", hintEnvironment, regexp.MustCompile(`(\bEnvironment=)(.+?)(\r?\n?)$`), nil, nil},
	{"SSH key", hintSSH, regexp.MustCompile(`\b((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+ +)(AAAA[A-Za-z0-9+/]+=*)`), func(g []string) string {
		return g[1] + "<redacted " + fingerprint(g[2]) + ">"
	}, nil},
	{"JWT", hintJWT, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){1,4}`), nil, nil},
	{"provider token", hintToken, regexp.MustCompile(`\b(?:(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|AKID[A-Za-z0-9]{13,}|LTAI[A-Za-z0-9]{8,}|(?:STS|TMP)\.[A-Za-z0-9]{12,}|AIza[A-Za-z0-9_-]{30,}|` +
		`gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|` +
		`sk-[A-Za-z0-9_-]{16,}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|npm_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|hvs\.[A-Za-z0-9_-]{16,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|` +
		`dop_v1_[a-f0-9]{20,}|pypi-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{16,}|sq0[a-z]{3}-[A-Za-z0-9_-]{16,})|AGE-SECRET-KEY-1[A-Z0-9]+`), func(g []string) string {
		if strings.HasPrefix(g[0], "sk-ssh-") || strings.HasPrefix(g[0], "sk-ecdsa-") {
			return g[0] // a kind of SSH key: `sshd -T` lists ten
		}
		return gone
	}, nil},
	{"password hash", hintHash, regexp.MustCompile(`(\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|apr1|P|H|S|argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]*)\$|\{(?:S?SHA[0-9]*|SMD5|CRYPT)\})([^\s:,;"'<]{8,})`), func(g []string) string {
		return g[1] + gone
	}, nil},
	{"authorization header", hintAuth, regexp.MustCompile(`(?i)((?:\b|[_-])(?:authorization|cookie|x-auth-token)["']?\s*[:=]\s*).+?(["']?[\r\n]*)$`), keepMarked, hasAssignment},
	{"authorization header", hintBearer, regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)([A-Za-z0-9._~+/-]{8,}=*)`), func(g []string) string {
		if !strings.ContainsAny(g[2], "0123456789=+/_~") && len(g[2]) < 20 {
			return g[0] // a word of a sentence
		}
		return g[1] + gone
	}, nil},
	{"password in a URL", hintURL, regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s/?#:@"'<>]*:)([^\s/?#"'<>]+)(@)`), nil, nil},
	{"password in a URL", hintURL, regexp.MustCompile(`(?i)((?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|ldaps?|s?ftp|smb|cifs|jdbc:[a-z]+)://[^\s/?#:@"'<>]*:)([^\s"'<>]+)(@)`), nil, nil},
	{"password in a URL", hintURL, regexp.MustCompile(`(https?://)([^\s/?#:@"'<>]{16,})(@)`), nil, nil},
	{"password in a URL", hintURL, regexp.MustCompile(`(\b[\w.-]+:)([^\s@"'<>]+)(@(?:tcp|unix)\()`), nil, nil},
	{"secret value", hintName, regexp.MustCompile(`(?i)((?:[A-Za-z0-9_.-]*` + nameOfSecret + `|\b` + shortName + `)(?:\\?["']|\])?\s*(?:=>|:=|=|:)\s*)(` + value + `)`), secretValue, hasAssignment},
	{"secret value", hintName, regexp.MustCompile(`(?i)((?:^|[\s\x00"'=])--?[A-Za-z0-9_.-]*` + nameOfSecret + `[ \x00]+)(` + value + `)`), optionValue, hasOption},
	{"secret value", hintName, regexp.MustCompile(`(?i)((?:^|[\s\x00"'=])--?` + shortName + `[ \x00]+)(` + value + `)`), optionValue, hasOption},
	{"secret value", hintProgram, regexp.MustCompile(`(?i)(\bsshpass -p ?|\b(?:mysql|mariadb)(?:dump|admin|import|check|show)?\b.* -p|\blftp\b.* (?:-u ?|--user[ =])[^\s,]+,)(` + value + `)`), optionValue, nil},
	{"secret value", hintSaid, regexp.MustCompile(`(?i)(\b(?:password|passphrase|passcode|secret|token)(?: for [\w@.-]+)? (?:(?:was |has been )?(?:set|reset|changed) to|is|was) )(` + value + `)`), sentenceValue, nil},
	{"secret value", hintSaid, regexp.MustCompile(`(?i)(\b(?:password|passphrase|passcode|secret|token) )("[^"]+"|'[^']+')`), nil, nil},
	{"secret value", hintSaid, regexp.MustCompile(`(?i)(\b(?:key|secret|token) )([0-9a-f]{32,})\b`), nil, nil},
	{"secret value", hintLogin, regexp.MustCompile(`(?i)(\b(?:requirepass|masterauth|login \S+ password) +)(` + value + `)`), nil, nil},
	{"secret value", hintName, regexp.MustCompile(`(?i)(<[\w-]*(?:password|passwd|secret|token)[\w-]*>)([^<]+)(</)`), nil, hasTag},
	{"secret value", hintIdentified, regexp.MustCompile(`(?i)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+(?:password\s+)?)(` + value + `)`), nil, nil},
}

func hasAssignment(line string) bool { return strings.ContainsAny(line, "=:") }

func hasTag(line string) bool { return strings.Contains(line, "</") }

// hasOption reports whether a word begins with a dash: of the lines of PAM's files, which are full of passwords and tokens, none does.
func hasOption(line string) bool {
	for i := 0; i < len(line); i++ {
		if line[i] == '-' && (i == 0 || strings.IndexByte(" \t\n\f\r\x00\"'=", line[i-1]) >= 0) {
			return true
		}
	}
	return false
}

// keepMarked leaves alone what is redacted already.
func keepMarked(g []string) string {
	if strings.TrimSuffix(strings.TrimPrefix(g[0], g[1]), g[len(g)-1]) == gone {
		return g[0]
	}
	return g[1] + gone + g[len(g)-1]
}

// optionValue redacts the word after an option, unless it is another option.
func optionValue(g []string) string {
	if strings.HasPrefix(g[2], "-") || strings.HasPrefix(g[2], "<redacted") {
		return g[0]
	}
	return g[1] + gone
}

// sentenceValue redacts what a sentence says a password is, unless it goes on with an ordinary word.
func sentenceValue(g []string) string {
	switch strings.ToLower(strings.Trim(g[2], ".,;:!()")) {
	case "a", "about", "already", "an", "bad", "being", "blank", "case", "correct", "disabled", "empty", "enabled", "expired", "going", "in", "incorrect", "invalid",
		"locked", "long", "missing", "needed", "never", "no", "not", "now", "null", "ok", "only", "required", "set", "short", "stored", "the", "to", "too", "unset",
		"used", "valid", "weak", "wrong", gone:
		return g[0]
	}
	return g[1] + gone
}

// secretValue redacts name=value, unless the value says only whether there is one, or is a shell's reference to one.
func secretValue(g []string) string {
	name := strings.TrimRight(strings.TrimRight(g[1], " \t"), `=:>"'\] `)
	if name == "PWD" || name == "OLDPWD" {
		return g[0]
	}
	v := strings.TrimRight(strings.Trim(g[2], `\"'`), ",;)}]")
	switch strings.ToLower(v) {
	case "", "yes", "no", "true", "false", "on", "off", "none", "null", "nil", "x", "*", "!", "***", "unset", "required":
		return g[0]
	case "files", "compat", "systemd", "sss", "ldap", "nis", "winbind", "db", "extrausers", "altfiles", "centrify": // nsswitch.conf(5)
		if name == "passwd" {
			return g[0]
		}
	}
	if strings.HasPrefix(v, "<redacted") {
		return g[0]
	}
	if q := g[2][0]; q == '"' || q == '\'' {
		return g[1] + string(q) + gone + string(q)
	}
	if strings.HasPrefix(g[2], `\"`) {
		return g[1] + `\"` + gone + `\"`
	}
	return g[1] + gone
}

// fingerprint of a public key as ssh-keygen prints it.
func fingerprint(key string) string {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return "not base64"
	}
	sum := sha256.Sum256(raw)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// minBlob is the length from which a run of base64 is taken for a key: 30 bytes; the secret of an AWS access key is this long.
const minBlob = 40

// blobs removes long runs of base64 that no name announces.
func (s *scrubber) blobs(line string) string {
	var b strings.Builder
	kept, from := 0, -1
	for i := 0; i <= len(line); i++ {
		if i < len(line) && isBase64(line[i]) {
			if from < 0 {
				from = i
			}
			continue
		}
		if from >= 0 && i-from >= minBlob && random(line[from:i]) && !strings.HasSuffix(line[:from], "SHA256:") {
			s.count("base64 blob")
			b.WriteString(line[kept:from])
			b.WriteString(gone)
			kept = i
		}
		from = -1
	}
	if kept == 0 {
		return line
	}
	b.WriteString(line[kept:])
	return b.String()
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=' || c == '_' || c == '-'
}

// random reports whether a run looks like encoded bytes and not like words: between two neighbours of random base64 the kind of character
// (small, capital, digit, mark) changes in 65 of 100 places, in paths and names in 10 to 30. Hexadecimal digits, as in the ids of
// containers, have no capitals.
func random(run string) bool {
	kinds, changes, last := [4]int{}, 0, -1
	for i := range len(run) {
		k := 3
		switch c := run[i]; {
		case c >= 'a' && c <= 'z':
			k = 0
		case c >= 'A' && c <= 'Z':
			k = 1
		case c >= '0' && c <= '9':
			k = 2
		}
		kinds[k]++
		if k != last {
			changes++
		}
		last = k
	}
	return kinds[0] > 0 && kinds[1] > 0 && kinds[2] > 0 && changes*100 >= 42*len(run)
}
