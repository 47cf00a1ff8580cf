package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Sshd reads whether the SSH server runs, listens and could start again.
var Sshd = probes.Define(probes.Probe[host.Host]{
	Name: "sshd",
	Doc: `SSH server

Finds sshd's process and its listening sockets, asks ` + "`sshd -T`" + ` for its effective configuration (as root; about 5 ms), and looks at
the modes of its directories, keys and root's authorized_keys. What a Match block or the command line of the running daemon changes
is not in ` + "`sshd -T`" + `. Where systemd listens for it (ssh.socket), running is false and the port's owner is systemd.`,
	Every: time.Minute,
}, sshd)

type sshdFacts struct {
	Running   bool             `fact:"running" doc:"A process of the daemon itself exists (not only sessions that outlived it)"`
	PID       probes.Opt[int]  `fact:"pid" unit:"pid" doc:"The daemon's process id"`
	Listening probes.Opt[bool] `fact:"listening" doc:"Every configured port is listened on; with no known configuration, port 22"`
	Socket    probes.Opt[bool] `fact:"socket_activated" doc:"No daemon runs and systemd listens in its place, to start one for each connection (ssh.socket); needs root"`
	Ports     []sshPort        `fact:"ports" doc:"The configured ports; 22 if the configuration cannot be read"`
	Disabled  bool             `fact:"disabled" doc:"/etc/ssh/sshd_not_to_be_run exists: Debian's way to switch it off on purpose"`

	ConfigExists probes.Opt[bool]     `fact:"config_exists" doc:"/etc/ssh/sshd_config is there; since OpenSSH 9.9 some distributions ship it elsewhere"`
	ConfigValid  probes.Opt[bool]     `fact:"config_valid" doc:"sshd accepts its configuration; needs root"`
	ConfigErrors probes.Cut[sshError] `fact:"config_errors" doc:"What it says against its configuration"`
	Startable    probes.Opt[bool]     `fact:"startable" doc:"sshd -T succeeds: with this configuration, keys and directories the daemon would start; needs root"`
	Complaint    probes.Opt[string]   `fact:"complaint" doc:"Why it would not, in its own words; absent if it would"`
	HostKeysBad  probes.Opt[bool]     `fact:"host_keys_missing" doc:"It can load none of its host keys; needs root"`
	PrivsepBad   probes.Opt[bool]     `fact:"privilege_separation_missing" doc:"Its empty directory (/run/sshd, /var/empty/sshd) is missing, or others may write it; needs root"`
	PrivsepUser  probes.Opt[bool]     `fact:"privilege_separation_user" doc:"The account sshd is there"`

	// Of the effective configuration: absent, the lists unreadable, where there is none.
	PermitRoot  probes.Opt[string] `fact:"permit_root_login" doc:"yes, no, without-password or forced-commands-only"`
	Password    probes.Opt[bool]   `fact:"password_authentication" doc:"PasswordAuthentication"`
	Pubkey      probes.Opt[bool]   `fact:"pubkey_authentication" doc:"PubkeyAuthentication"`
	StrictModes probes.Opt[bool]   `fact:"strict_modes" doc:"StrictModes: keys in files that others could write do not count"`
	UsePAM      probes.Opt[bool]   `fact:"use_pam" doc:"UsePAM"`
	AllowUsers  probes.Cut[string] `fact:"allow_users" doc:"AllowUsers; empty lets in all"`
	DenyUsers   probes.Cut[string] `fact:"deny_users" doc:"DenyUsers"`
	AllowGroups probes.Cut[string] `fact:"allow_groups" doc:"AllowGroups; empty lets in all"`
	DenyGroups  probes.Cut[string] `fact:"deny_groups" doc:"DenyGroups"`
	KeysFiles   probes.Cut[string] `fact:"authorized_keys_files" doc:"AuthorizedKeysFile, as written"`
	MaxSessions probes.Opt[int]    `fact:"max_sessions" unit:"count" doc:"MaxSessions"`
	MaxStartups probes.Opt[string] `fact:"max_startups" doc:"MaxStartups: start:rate:full"`

	Startups     probes.Opt[int]  `fact:"startups" unit:"connections" doc:"Connections that have not yet authenticated; the daemon's title says it since OpenSSH 8.3"`
	StartupsMax  probes.Opt[int]  `fact:"startups_max" unit:"connections" doc:"With so many, every further one is dropped; MaxStartups' third number"`
	StartupsDrop probes.Opt[int]  `fact:"startups_drop" unit:"connections" doc:"From so many on it drops some at random; MaxStartups' first number"`
	LoopbackOnly probes.Opt[bool] `fact:"loopback_only" doc:"It listens, and on loopback addresses alone; absent if nothing listens"`

	WrappersDeny probes.Opt[string] `fact:"wrappers_deny" doc:"The line of /etc/hosts.deny that turns away everybody who is not in hosts.allow, if the daemon is built with TCP wrappers; absent without such a line; needs root"`
	WrappersSome bool               `fact:"wrappers_allow_some" doc:"With wrappers_deny: /etc/hosts.allow lets some addresses in"`

	Obstacles []sshObstacle `fact:"obstacles" doc:"Settings that sshd accepts and that cannot work: commands and directories that are not there, methods that nobody can fulfil; at most 10"`

	Users probes.Cut[sshUser] `fact:"users" doc:"Accounts of people, and root: what sshd makes of their logins by key; at most 50. Unreadable where there is no effective configuration"`

	Paths []sshPath `fact:"paths" doc:"Files and directories whose mode and owner decide whether sshd starts and whether keys count"`
}

type sshPort struct {
	Port      int              `fact:"port,key" unit:"port" doc:"TCP port"`
	Listening probes.Opt[bool] `fact:"listening" doc:"Some socket listens on it"`
	Own       probes.Opt[bool] `fact:"own" doc:"The socket is sshd's; false: somebody else has taken the port. Absent if nothing listens; needs root"`
}

type sshError struct {
	Where string `fact:"where,key" doc:"File and line: \"/etc/ssh/sshd_config:12\""`
	Text  string `fact:"text" doc:"What is wrong there, in sshd's words"`
}

type sshPath struct {
	Path     string          `fact:"path,key" doc:"Its path"`
	Kind     string          `fact:"kind" doc:"\"directory\", \"config\", \"host key\", \"privilege separation\", \"home\", \"authorized keys\""`
	Exists   bool            `fact:"exists" doc:"It is there"`
	Mode     string          `fact:"mode" doc:"Permission bits: \"0600\"; empty if it does not exist"`
	UID      probes.Opt[int] `fact:"uid" unit:"uid" doc:"Owner; absent if it does not exist"`
	Problem  string          `fact:"problem" doc:"Why sshd refuses it, or what it lets others do; empty if all is well"`
	GoodMode string          `fact:"good_mode" doc:"With problem: the mode it should have"`
}

const sshdConfig = "/etc/ssh/sshd_config"

func sshd(ctx context.Context, h host.Host) (sshdFacts, error) {
	installed, err := sshdInstalled(h)
	if err != nil {
		return sshdFacts{}, err
	}
	if !installed {
		return sshdFacts{}, probes.NoData("sshd is not installed")
	}
	f := sshdFacts{ConfigExists: exists(h, sshdConfig)}
	_, err = h.Stat("/etc/ssh/sshd_not_to_be_run")
	f.Disabled = err == nil
	if err := f.process(h, "/run/sshd.pid"); err != nil {
		return sshdFacts{}, err
	}
	conf := f.askSshd(ctx, h)
	f.configuration(conf)
	f.ports(ctx, h, conf["port"])
	f.privsepUser(h)
	f.paths(h, conf)
	f.obstacles(h, conf)
	f.users(ctx, h, conf)
	f.wrappers(h)
	return f, nil
}

func sshdInstalled(h host.Files) (bool, error) {
	for _, name := range []string{"/usr/sbin/sshd", "/sbin/sshd", "/usr/bin/sshd"} {
		_, err := h.Stat(name)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("looking for sshd: %w", err)
		}
	}
	return false, nil
}

// askSshd runs sshd's extended test and returns its configuration: keyword in lower case → its values, nil if there is none.
func (f *sshdFacts) askSshd(ctx context.Context, h host.Host) map[string][]string {
	unread := func(why string) {
		f.ConfigErrors.Why, f.Complaint = why, probes.Unread[string](why)
		for _, o := range []*probes.Opt[bool]{&f.ConfigValid, &f.Startable, &f.HostKeysBad, &f.PrivsepBad} {
			*o = probes.Unread[bool](why)
		}
	}
	if !h.Can().Root {
		unread("sshd -T needs root")
		return nil
	}
	out, err := h.Run(ctx, "sshd", "-T")
	if err != nil {
		unread(err.Error())
		return nil
	}
	if out.Exit != 0 {
		f.refusal(string(out.Stderr), !f.Running && unitMakesDirectory(h))
		return nil
	}
	conf := parseSshdT(string(out.Stdout))
	if len(conf["port"]) == 0 {
		unread("sshd -T printed no configuration")
		return nil
	}
	f.ConfigValid, f.Startable = probes.Some(true), probes.Some(true)
	f.HostKeysBad, f.PrivsepBad = probes.Some(false), probes.Some(false)
	return conf
}

// sshdLine is how sshd names the place of an error: "/etc/ssh/sshd_config line 12: Bad configuration option: Foo", and before it
// "command-line: " or nothing.
var sshdLine = regexp.MustCompile(`(/[^\s:]+):? line (\d+): (.+)`)

// refusal reads why sshd -T failed. sshd reads its configuration first, then the host keys, then looks at the privilege-separation
// directory (main in sshd.c), and stops at the first that fails: what comes later is not known. unitDirectory says that the service
// manager makes that directory before it starts sshd, and takes it away afterwards, as Debian's does: then nothing is wrong. With a daemon that runs it is:
// each of its children locks itself in there.
func (f *sshdFacts) refusal(stderr string, unitDirectory bool) {
	f.Startable = probes.Some(false)
	var said []string
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" {
			said = append(said, line)
		}
		if m := sshdLine.FindStringSubmatch(line); m != nil && !strings.Contains(line, "Deprecated option") && !strings.Contains(line, "Unsupported option") {
			f.ConfigErrors.All = append(f.ConfigErrors.All, sshError{m[1] + ":" + m[2], m[3]})
		}
	}
	f.Complaint = probes.Some(strings.Join(said[max(0, len(said)-3):], "; "))
	const unreached = "sshd stopped before it came to this"
	f.HostKeysBad, f.PrivsepBad = probes.Unread[bool](unreached), probes.Unread[bool](unreached)
	switch {
	case unitDirectory && strings.Contains(stderr, "Missing privilege separation directory: /run/sshd"):
		f.ConfigValid, f.Startable, f.HostKeysBad, f.PrivsepBad = probes.Some(true), probes.Some(true), probes.Some(false), probes.Some(false)
		f.ConfigErrors.All, f.Complaint = nil, probes.None[string]()
	case strings.Contains(stderr, "no hostkeys available"):
		f.ConfigValid, f.HostKeysBad = probes.Some(true), probes.Some(true)
		f.ConfigErrors.All = nil
	case strings.Contains(stderr, "Missing privilege separation directory"), strings.Contains(stderr, "must be owned by root and not group or world-writable"):
		f.ConfigValid, f.HostKeysBad, f.PrivsepBad = probes.Some(true), probes.Some(false), probes.Some(true)
		f.ConfigErrors.All = nil
	case strings.Contains(stderr, "Privilege separation user"):
		f.ConfigValid = probes.Some(true)
		f.ConfigErrors.All = nil
	default:
		f.ConfigValid = probes.Some(false)
		if len(f.ConfigErrors.All) == 0 && len(said) > 0 {
			f.ConfigErrors.All = []sshError{{sshdConfig, said[len(said)-1]}}
		}
	}
}

// unitMakesDirectory reports whether sshd's unit has RuntimeDirectory=sshd, and systemd is there to heed it.
func unitMakesDirectory(h host.Files) bool {
	if !isThere(h, "/run/systemd/system") {
		return false
	}
	for _, dir := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		for _, unit := range []string{"ssh.service", "sshd.service"} {
			if b, err := h.ReadFile(dir + unit); err == nil {
				return strings.Contains(string(b), "\nRuntimeDirectory=sshd\n")
			}
		}
	}
	return false
}

func (f *sshdFacts) configuration(conf map[string][]string) {
	text := func(key string) probes.Opt[string] {
		if v := conf[key]; len(v) > 0 {
			return probes.Some(v[0])
		}
		return probes.None[string]()
	}
	yes := func(key string) probes.Opt[bool] {
		if v := conf[key]; len(v) > 0 {
			return probes.Some(v[0] == "yes")
		}
		return probes.None[bool]()
	}
	words := func(key string) probes.Cut[string] {
		if conf == nil {
			return probes.Cut[string]{Why: "there is no effective configuration"}
		}
		return probes.Cut[string]{All: strings.Fields(strings.Join(conf[key], " "))}
	}
	f.PermitRoot, f.MaxStartups = text("permitrootlogin"), text("maxstartups")
	f.Password, f.Pubkey = yes("passwordauthentication"), yes("pubkeyauthentication")
	f.StrictModes, f.UsePAM = yes("strictmodes"), yes("usepam")
	f.AllowUsers, f.DenyUsers = words("allowusers"), words("denyusers")
	f.AllowGroups, f.DenyGroups = words("allowgroups"), words("denygroups")
	f.KeysFiles = words("authorizedkeysfile")
	if v := conf["maxsessions"]; len(v) > 0 {
		if n, err := strconv.Atoi(v[0]); err == nil {
			f.MaxSessions = probes.Some(n)
		}
	}
}

// process finds the daemon: by its usual pid file, and where that is missing or stale among all processes.
func (f *sshdFacts) process(h host.Files, pidfile string) error {
	if pid, err := readInt(h, pidfile); err == nil && isSshd(h, pid) {
		f.Running, f.PID = true, probes.Some(pid)
		f.startups(h, pid)
		return nil
	}
	pids, err := processIDs(h)
	if err != nil {
		return fmt.Errorf("looking for sshd's process: %w", err)
	}
	for _, pid := range pids {
		if isSshd(h, pid) {
			f.Running, f.PID = true, probes.Some(pid)
			f.startups(h, pid)
			return nil
		}
	}
	return nil
}

// isSshd reports whether a process is the daemon. Its sessions have the same name until OpenSSH 9.8 but a title of their own ("sshd:
// root@pts/0"); the daemon's is "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", and its bare arguments until 8.2.
func isSshd(h host.Files, pid int) bool {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if comm, err := readLine(h, dir+"comm"); err != nil || comm != "sshd" {
		return false
	}
	b, err := h.ReadFile(dir + "cmdline")
	if err != nil {
		return false
	}
	title := strings.ReplaceAll(string(b), "\x00", " ")
	return strings.Contains(title, "[listener]") || !strings.HasPrefix(title, "sshd: ")
}

// listenerTitle is what the daemon says of itself since OpenSSH 8.3: "sshd: /usr/sbin/sshd -D [listener] 3 of 10-100 startups".
var listenerTitle = regexp.MustCompile(`\[listener\] (\d+) of (\d+)-(\d+) startups`)

func (f *sshdFacts) startups(h host.Files, pid int) {
	b, err := h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		f.Startups = probes.Unread[int](err.Error())
		f.StartupsMax, f.StartupsDrop = f.Startups, f.Startups
		return
	}
	if m := listenerTitle.FindStringSubmatch(strings.ReplaceAll(string(b), "\x00", " ")); m != nil {
		for i, into := range []*probes.Opt[int]{&f.Startups, &f.StartupsDrop, &f.StartupsMax} {
			if n, err := strconv.Atoi(m[i+1]); err == nil {
				*into = probes.Some(n)
			}
		}
	}
}

// ports compares the configured ports with the sockets that listen.
func (f *sshdFacts) ports(ctx context.Context, h host.Host, configured []string) {
	for _, p := range configured {
		if n, err := strconv.Atoi(p); err == nil && n > 0 && n < 1<<16 {
			f.Ports = append(f.Ports, sshPort{Port: n})
		}
	}
	if len(f.Ports) == 0 {
		f.Ports = []sshPort{{Port: 22}}
	}
	inodes, outside := map[int][]uint32{}, map[int]bool{}
	err := h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		port := int(s.Local.Port())
		inodes[port] = append(inodes[port], s.Inode)
		outside[port] = outside[port] || !s.Local.Addr().IsLoopback()
		return nil
	})
	if err != nil {
		f.Listening, f.LoopbackOnly = probes.Unread[bool](err.Error()), probes.Unread[bool](err.Error())
		for i := range f.Ports {
			f.Ports[i].Listening, f.Ports[i].Own = f.Listening, f.Listening
		}
		return
	}
	own := f.sockets(h)
	if !f.Running && own == nil {
		f.Socket = probes.Unread[bool]("systemd's descriptors cannot be read")
	}
	all := true
	for i := range f.Ports {
		p := &f.Ports[i]
		listeners := inodes[p.Port]
		if only, known := f.LoopbackOnly.Get(); len(listeners) > 0 {
			f.LoopbackOnly = probes.Some((only || !known) && !outside[p.Port])
		}
		all = all && len(listeners) > 0
		p.Listening = probes.Some(len(listeners) > 0)
		if len(listeners) > 0 && own != nil {
			p.Own = probes.Some(slices.ContainsFunc(listeners, func(ino uint32) bool { return own[ino] }))
		} else if len(listeners) > 0 {
			p.Own = probes.Unread[bool]("the descriptors of its process cannot be read")
		}
	}
	f.Listening = probes.Some(all)
	if own != nil {
		first, _ := f.Ports[0].Own.Get()
		f.Socket = probes.Some(!f.Running && first)
	}
}

// sockets are the inodes of the sockets that the daemon holds; nil if they cannot be read.
func (f *sshdFacts) sockets(h host.Host) map[uint32]bool {
	pid, ok := f.PID.Get()
	if !ok {
		pid = 1 // systemd holds the socket of ssh.socket
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := h.ReadDir(dir)
	if err != nil {
		return nil
	}
	own := map[uint32]bool{}
	for _, fd := range fds {
		target, _ := h.Readlink(dir + "/" + fd.Name)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			if n, err := strconv.ParseUint(strings.TrimSuffix(inode, "]"), 10, 32); err == nil {
				own[uint32(n)] = true
			}
		}
	}
	return own
}

func (f *sshdFacts) privsepUser(h host.Files) {
	users, _, err := readColons(h, "/etc/passwd", 7)
	if err != nil {
		f.PrivsepUser = probes.Unread[bool](err.Error())
		return
	}
	f.PrivsepUser = probes.Some(slices.ContainsFunc(users, func(u []string) bool { return u[pwName] == "sshd" }))
}

// defaultHostKeys are what sshd looks for when its configuration names none, and what `ssh-keygen -A` makes.
var defaultHostKeys = []string{"/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key"}

// paths looks at what must be closed to others. Where sshd's configuration is not known its defaults stand in, and StrictModes
// is on by default.
func (f *sshdFacts) paths(h host.Files, conf map[string][]string) {
	f.path(h, "/etc/ssh", "directory", "0755")
	f.path(h, sshdConfig, "config", "0600")
	keys := conf["hostkey"]
	if len(keys) == 0 {
		keys = defaultHostKeys
	}
	for _, key := range keys {
		f.path(h, key, "host key", "0600")
	}
	for _, dir := range []string{"/run/sshd", "/var/empty/sshd", "/usr/share/empty.sshd"} {
		if _, err := h.Lstat(dir); err == nil {
			f.path(h, dir, "privilege separation", "0755")
		}
	}
	if strict, known := f.StrictModes.Get(); known && !strict {
		return
	}
	f.path(h, "/root", "home", "0700")
	f.path(h, "/root/.ssh", "home", "0700")
	files := f.KeysFiles.All
	if conf == nil {
		files = []string{".ssh/authorized_keys", ".ssh/authorized_keys2"} // sshd_config(5)
	}
	for _, file := range files {
		file = strings.NewReplacer("%h", "/root", "%u", "root", "%%", "%").Replace(file)
		if !strings.HasPrefix(file, "/") {
			file = "/root/" + file
		}
		if file != "none" {
			f.path(h, path.Clean(file), "authorized keys", "0600")
		}
	}
}

// path adds what there is to say of one path; an optional one that does not exist, or that may not be looked at, is left out.
func (f *sshdFacts) path(h host.Files, name, kind, good string) {
	p := sshPath{Path: name, Kind: kind}
	fi, err := h.Stat(name)
	switch {
	case err == nil:
		p.Exists, p.Mode, p.UID = true, fmt.Sprintf("%04o", fi.Mode.Perm()), probes.Some(fi.UID)
		if p.Problem = sshProblem(kind, &fi); p.Problem != "" {
			p.GoodMode = good
		}
	case !errors.Is(err, fs.ErrNotExist) || kind == "home" || kind == "authorized keys":
		return
	}
	f.Paths = append(f.Paths, p)
}

// sshProblem applies sshd's own rules: sshkey_perm_ok for keys, safe_path (StrictModes) for homes and authorized_keys, main for the
// privilege-separation directory. RHEL lets the group ssh_keys read host keys.
func sshProblem(kind string, fi *host.FileInfo) string {
	perm := fi.Mode.Perm()
	switch kind {
	case "host key":
		if perm&0o077 != 0 && (perm != 0o640 || fi.GID == 0) {
			return "others may read it: sshd ignores the key"
		}
		return ""
	case "directory", "config":
		if perm&0o022 != 0 {
			return "others may write it"
		}
	case "privilege separation":
		if perm&0o022 != 0 {
			return "others may write it: sshd does not start"
		}
	default:
		if perm&0o022 != 0 {
			return "others may write it: sshd ignores the keys (StrictModes)"
		}
	}
	if fi.UID != 0 {
		return "not owned by root"
	}
	return ""
}
