package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// ErrForbidden is the answer for a file that holds secrets, or that is no file.
var ErrForbidden = errors.New("is not read by checks")

// forbidden are files that no check reads, whoever asks: what is in them is a secret, or reading them changes something.
var forbidden = []struct {
	path *regexp.Regexp
	why  string
}{
	// Of any root: a container's layers and a chroot have an /etc too.
	{regexp.MustCompile(`/etc/(g?shadow|security/opasswd)[^/]*$`), "it holds password hashes"},
	{regexp.MustCompile(`/etc/krb5\.keytab[^/]*$|\.keytab$`), "it holds keys"},
	{regexp.MustCompile(`/etc/hostmend/secrets(/|$)`), "it holds secrets; a header may refer to them"},
	{regexp.MustCompile(`^/dev/`), "it is a device"},
	{regexp.MustCompile(`^/proc/(kcore|kmsg|kpage[a-z]*|sysrq-trigger|keys|key-users)$`), "it is the kernel's memory or log"},
	{regexp.MustCompile(`^/proc/([0-9]+|self|thread-self)/(task/[0-9]+/)?(environ|mem|auxv|maps|smaps|pagemap|stack|syscall|fd|fdinfo|map_files|root|cwd|exe)(/|$)`), "it holds a process's secrets"},
	{regexp.MustCompile(`^/sys/kernel/(debug|tracing)/|^/sys/firmware/efi/efivars/`), "reading it changes something"},
	{regexp.MustCompile(`/\.ssh/(id_[^/.]*|[^/]*_key|identity)$|/ssh_host_[a-z0-9]+_key$`), "it is a private key"},
	{regexp.MustCompile(`(?i)/(\.netrc|\.pgpass|\.my\.cnf|\.git-credentials|chrony\.keys|ntp\.keys|secring\.gpg|private\.key|[^/]*[._-]key\.pem|[^/]*\.(key|p12|pfx|jks|kdbx|ppk))$`), "its name is that of a key or password file"},
	{regexp.MustCompile(`/\.gnupg/|/\.aws/credentials$|/\.docker/config\.json$|/\.aliyun/config\.json$|/\.vault-token$`), "it holds credentials"},
	// systemd.exec(5), CREDENTIALS; containers' secrets; the service account's token as a pod and as the kubelet see it.
	{regexp.MustCompile(`/run/(secrets|credentials)/|/serviceaccount/([^/]*/)?token$|/kubernetes\.io~secret/|/kubernetes\.io~projected/.*/token$`), "it holds credentials of a service"},
	{regexp.MustCompile(`(?i)/\.kube/|/etc/kubernetes/[^/]*\.conf$|/[^/]*kubeconfig[^/]*$|/k3s\.yaml$`), "it holds credentials of a cluster"},
	{regexp.MustCompile(`/NetworkManager/system-connections/|/etc/(ppp/(chap|pap)-secrets|ipsec\.secrets|wireguard/[^/]*\.conf$)|/wpa_supplicant[^/]*\.conf$`), "it holds keys of networks"},
	{regexp.MustCompile(`/\.env(\.[^/]*)?$`), "it holds an application's secrets"},
}

// Forbidden says why checks do not read a file; empty for those that they do.
func Forbidden(name string) string {
	for _, f := range forbidden {
		if f.path.MatchString(path.Clean(name)) {
			return f.why
		}
	}
	return ""
}

// openRegular opens a file that checks may read. It looks before it opens: to open a device may rewind a tape or start a watchdog. Where
// symbolic links lead counts, and not only what was asked for.
func openRegular(name string) (*os.File, fs.FileInfo, error) {
	refuse := func(why string) (*os.File, fs.FileInfo, error) {
		return nil, nil, fmt.Errorf("%s %w: %s", name, ErrForbidden, why)
	}
	if why := Forbidden(name); why != "" {
		return refuse(why)
	}
	fd, err := open(name, unix.O_PATH)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	here := "/proc/self/fd/" + strconv.Itoa(fd)
	real, err := os.Readlink(here)
	if err != nil {
		return nil, nil, err
	}
	if why := Forbidden(real); why != "" {
		return refuse("it is " + real + ": " + why)
	}
	if why, err := forbiddenKernelFile(fd, real); err != nil {
		return nil, nil, err
	} else if why != "" {
		return refuse(why)
	}
	info, err := os.Stat(here)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return refuse("it is not a regular file")
	}
	for _, secret := range []string{"/etc/shadow", "/etc/gshadow"} {
		if other, err := os.Stat(secret); err == nil && os.SameFile(info, other) {
			return refuse("it is " + secret)
		}
	}
	f, err := os.Open(here)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		e.Path = name
	}
	return f, info, err
}

// forbiddenKernelFile says why a file of the kernel's own file systems is not read, wherever they are mounted: chroots have a /proc of
// their own, and anything may be bound to another place.
func forbiddenKernelFile(fd int, real string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "", err
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC:
		inside, err := insideMount(fd, real)
		if err != nil {
			return "", err
		}
		return Forbidden("/proc" + inside), nil
	case unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.EFIVARFS_MAGIC:
		return "reading it changes something", nil
	}
	return "", nil
}

// insideMount is where a file that is open as real lies in its file system, by proc_pid_fdinfo(5) and proc_pid_mountinfo(5).
func insideMount(fd int, real string) (string, error) {
	fdinfo, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(fdinfo), "mnt_id:")
	id, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line) // id, parent, device, root, mount point
		if len(f) < 5 || f[0] != id {
			continue
		}
		if below, ok := strings.CutPrefix(real, strings.TrimSuffix(unescapeMount.Replace(f[4]), "/")); ok {
			return path.Join("/", unescapeMount.Replace(f[3]), below), nil
		}
	}
	return "", fmt.Errorf("%s: the mount that it is on is not found", real)
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// readRegular reads at most limit bytes of a file that checks may read. What holds a private key is refused, unless only certificates are
// taken of it.
func readRegular(name string, limit int, certificates bool) (data []byte, info fs.FileInfo, cut bool, err error) {
	f, info, err := openRegular(name)
	if err != nil {
		return nil, nil, false, err
	}
	defer f.Close()
	data, err = io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, nil, false, err
	}
	if cut = len(data) > limit; cut {
		data = data[:limit]
	}
	if !certificates && holdsKey(data) {
		return nil, nil, false, fmt.Errorf("%s %w: it holds a private key", name, ErrForbidden)
	}
	return data, info, cut, nil
}

var keyMarks = [][]byte{[]byte("PRIVATE KEY-----"), []byte("PRIVATE KEY BLOCK-----"), []byte("PuTTY-User-Key-File"), []byte("AGE-SECRET-KEY-")}

func holdsKey(data []byte) bool {
	return slices.ContainsFunc(keyMarks, func(mark []byte) bool { return bytes.Contains(data, mark) })
}

// readFile reads a file, or its end, and looks for the pattern.
func (q *checking) readFile(ctx context.Context) (CheckAnswer, error) {
	f, fi, err := openRegular(q.File.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return CheckAnswer{}, nil
	}
	if err != nil {
		return CheckAnswer{}, err
	}
	defer f.Close()
	stat, err := info(fi, nil)
	if err != nil {
		return CheckAnswer{}, err
	}
	a := CheckAnswer{File: &stat, Size: stat.Size}
	if q.Pattern == "" {
		return a, nil
	}
	if q.File.Tail && stat.Size > int64(q.Limit) {
		if _, err := f.Seek(-int64(q.Limit), io.SeekEnd); err != nil {
			return a, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(q.Limit)+1))
	if err != nil {
		return a, err
	}
	if len(data) > q.Limit {
		data, a.Cut = data[:q.Limit], !q.File.Tail
	}
	if holdsKey(data) {
		return CheckAnswer{}, fmt.Errorf("%s %w: it holds a private key", q.File.Path, ErrForbidden)
	}
	text := q.readable(string(data), q.File.Tail && stat.Size > int64(q.Limit), a.Cut)
	q.match(&a, text)
	q.count(ctx, &a, text)
	return a, nil
}

// operatorDir holds what an operator allows and keeps secret on a host.
const operatorDir = "/etc/hostmend"

func (l *Local) operatorFile(name string) string {
	if l.OperatorDir != "" {
		return filepath.Join(l.OperatorDir, name)
	}
	return filepath.Join(operatorDir, name)
}

// readTrusted reads a file that only root can have written: regular, root's, not for others to write (mask), in a directory for which the
// same holds.
func readTrusted(name string, limit int, mask fs.FileMode) ([]byte, error) {
	if err := trust(path.Dir(name), 0o022); err != nil {
		return nil, err
	}
	fd, err := open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if err := trusted(name, fi, mask); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s is %w of %d bytes", name, ErrTooLarge, limit)
	}
	return data, err
}

// ReadTrusted reads a file that hostmend, as root, acts upon: root's, and for nobody else to write.
func ReadTrusted(name string) ([]byte, error) { return readTrusted(name, maxCommands, 0o022) }

func trust(name string, mask fs.FileMode) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	return trusted(name, fi, mask)
}

func trusted(name string, fi fs.FileInfo, mask fs.FileMode) error {
	st, err := info(fi, nil)
	switch {
	case err != nil:
		return err
	case st.UID != 0:
		return fmt.Errorf("%s is not root's (its owner is %d): it is not used", name, st.UID)
	case st.Mode.Perm()&mask != 0:
		return fmt.Errorf("%s has mode %04o, which lets others in: chmod %s it", name, st.Mode.Perm(), map[fs.FileMode]string{0o022: "go-w", 0o077: "go="}[mask])
	}
	return nil
}

// A secret is one line. One that is shorter could not be told from ordinary text, and so not be kept out of it.
const (
	maxSecret = 4096
	minSecret = 8
)

var secretFile = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// secret reads a secret from its file.
func (l *Local) secret(name string) (string, error) {
	if !secretFile.MatchString(name) {
		return "", fmt.Errorf("%q is no name of a secret", name)
	}
	err := trust(path.Dir(l.operatorFile("secrets")), 0o022) // whoever may write there could put another directory in its place
	var data []byte
	if err == nil {
		data, err = readTrusted(l.operatorFile("secrets/"+name), maxSecret, 0o077)
	}
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", name, err)
	}
	value := strings.TrimRight(string(data), "\r\n")
	switch {
	case len(value) < minSecret:
		return "", fmt.Errorf("secret %s: it is shorter than %d characters", name, minSecret)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("secret %s: it is more than one line of text", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, plain := range append(basicParts(value), value) {
		for _, form := range forms(plain) {
			if !slices.Contains(l.known, form) {
				l.known = append(l.known, form)
			}
		}
	}
	slices.SortFunc(l.known, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // one may be the beginning of another
	return value, nil
}

// basicParts are what the secret of an Authorization: Basic header says (RFC 7617), which servers write into logs and pages: USER:PASSWORD
// and the password.
func basicParts(value string) []string {
	pair, err := base64.StdEncoding.DecodeString(value)
	if err != nil || !utf8.Valid(pair) {
		return nil
	}
	_, password, ok := strings.Cut(string(pair), ":")
	if !ok {
		return nil
	}
	return slices.DeleteFunc([]string{string(pair), password}, func(s string) bool { return len(s) < minSecret })
}

// forms are those in which a server may send a text back: as it is, in base64, in a URL, in JSON and in HTML.
func forms(value string) []string {
	b := []byte(value)
	list := []string{
		value, base64.StdEncoding.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b), base64.URLEncoding.EncodeToString(b),
		base64.RawURLEncoding.EncodeToString(b), url.QueryEscape(value), url.PathEscape(value),
		html.EscapeString(value), strings.NewReplacer("&#39;", "&#x27;", "&#34;", "&quot;").Replace(html.EscapeString(value)),
		strings.NewReplacer("&#39;", "'", "&#34;", "&quot;").Replace(html.EscapeString(value)),
	}
	quoted, err := json.Marshal(value)
	if err != nil {
		return list
	}
	full := string(quoted[1 : len(quoted)-1]) // with < > & as \u003c and so on
	bare := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(full)
	return append(list, full, bare, strings.ReplaceAll(bare, "/", `\/`))
}

// concealCut is Conceal for a text that was cut off before its beginning or after its end, where half a secret may stand.
func (l *Local) concealCut(text string, before, after bool) string {
	text = l.Conceal(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	start, end := 0, len(text)
	for _, value := range l.known {
		for n := min(len(value)-1, len(text)); n >= minHalf; n-- {
			if before && strings.HasPrefix(text, value[len(value)-n:]) {
				start = max(start, n)
			}
			if after && strings.HasSuffix(text, value[:n]) {
				end = min(end, len(text)-n)
			}
		}
	}
	return text[start:max(start, end)]
}

// minHalf is the shortest part of a secret that is taken away at a cut; fewer characters give nothing away, and stand there by chance.
const minHalf = 4

// Conceal removes every secret that checks use from a text, in the forms in which a server may send it back. It is the second line of
// defence: no answer should hold one.
func (l *Local) Conceal(text string) string {
	l.learn.Do(func() {
		for _, name := range l.Secrets {
			_, _ = l.secret(name) // the check that uses it will say what is wrong
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, value := range l.known {
		if strings.Contains(text, value) {
			text = strings.ReplaceAll(text, value, gone)
		}
	}
	return text
}
