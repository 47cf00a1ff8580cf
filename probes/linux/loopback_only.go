package linux

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// This file looks at servers that only this host can reach: was that meant?

type loopbackOnly struct {
	Server  string                    `fact:"server,key" doc:"The program and its port: mariadbd 3306"`
	Unit    probes.Opt[string]        `fact:"unit" doc:"Its systemd service; absent outside of any"`
	Port    int                       `fact:"port" unit:"port" doc:"The port"`
	Line    string                    `fact:"line" doc:"The line of its configuration that says so, as FILE:LINE: TEXT; empty if it was not found"`
	Changed probes.Opt[time.Duration] `fact:"changed" doc:"Time since that file was written; absent without one"`
	Meant   string                    `fact:"meant" doc:"What says that others were to reach it: a line of pg_hba.conf for other networks; empty if nothing does"`
}

// boundServer is a server, where its configuration stands, and how that binds it to loopback.
type boundServer struct {
	commands []string
	files    []string // directories end in a slash: their .conf and .cnf files
	bind     *regexp.Regexp
}

// localBinding is what follows the setting's name: one address of loopback, or several of nothing else.
const localBinding = `["'\s=]*(?:(?:\*:)?(?:127\.[0-9.]+|localhost|-?::1|\[::1\])[\s,"';]*)+`

var boundServers = []boundServer{
	{[]string{"mysqld", "mariadbd"}, []string{"/etc/mysql/my.cnf", "/etc/my.cnf", "/etc/mysql/conf.d/", "/etc/mysql/mariadb.conf.d/", "/etc/mysql/mysql.conf.d/", "/etc/my.cnf.d/"}, regexp.MustCompile(`(?i)^\s*bind[-_]address` + localBinding)},
	{[]string{"postgres", "postmaster"}, nil, regexp.MustCompile(`(?i)^\s*listen_addresses` + localBinding)},
	{[]string{"redis-server", "valkey-server"}, []string{"/etc/redis/redis.conf", "/etc/redis.conf", "/etc/valkey/valkey.conf", "/etc/redis/"}, regexp.MustCompile(`(?i)^\s*bind\s` + localBinding)},
	{[]string{"haproxy"}, []string{"/etc/haproxy/haproxy.cfg", "/etc/haproxy/conf.d/"}, regexp.MustCompile(`^\s*bind\s+(?:127\.[0-9.]+|localhost|\[?::1\]?):\d`)},
	{[]string{"rsyslogd"}, []string{"/etc/rsyslog.conf", "/etc/rsyslog.d/"}, regexp.MustCompile(`(?i)address\s*=\s*"(?:127\.[0-9.]+|localhost|::1)"|^\s*\$UDPServerAddress\s+127\.`)},
	{[]string{"memcached"}, []string{"/etc/memcached.conf", "/etc/sysconfig/memcached"}, regexp.MustCompile(`-l\s*` + localBinding)},
	{[]string{"mongod"}, []string{"/etc/mongod.conf"}, regexp.MustCompile(`(?i)^\s*bind_?ip\s*[:=]` + localBinding)},
}

// redisOwn are the lines of redis.conf as it is shipped, in which other settings change more often.
var redisOwn = []string{"bind 127.0.0.1 -::1", "bind 127.0.0.1 ::1"}

// maxBoundFiles bounds the files of one server.
const maxBoundFiles = 40

// findLoopbackOnly looks at the servers that it knows and whose ports all are on loopback.
func findLoopbackOnly(h host.Host, f *listenersFacts) []loopbackOnly {
	all := []loopbackOnly{}
	for i := range f.TCP {
		l := &f.TCP[i]
		command, _ := l.Process.Get()
		pid, known := l.PID.Get()
		server := boundServerOf(command)
		outside := slices.ContainsFunc(f.TCP, func(o tcpListener) bool {
			p, _ := o.PID.Get()
			return p == pid && !o.Loopback && (o.Port == l.Port || command != "haproxy")
		})
		name := fmt.Sprintf("%s %d", command, l.Port)
		if server == nil || !known || outside || slices.ContainsFunc(all, func(o loopbackOnly) bool { return o.Server == name }) {
			continue
		}
		found := loopbackOnly{Server: name, Unit: l.Unit, Port: l.Port}
		server.look(h, &found, pid)
		all = append(all, found)
	}
	all = append(all, syslogOnly(h, f)...)
	return all
}

// boundServerOf is the server that runs as this command; nil if it is none of them.
func boundServerOf(command string) *boundServer {
	i := slices.IndexFunc(boundServers, func(s boundServer) bool { return slices.Contains(s.commands, command) })
	if i < 0 {
		return nil
	}
	return &boundServers[i]
}

// syslogOnly is rsyslog's UDP port, which nobody owns by name here.
func syslogOnly(h host.Host, f *listenersFacts) []loopbackOnly {
	at := func(loopback bool) bool {
		return slices.ContainsFunc(f.UDP.All, func(l udpListener) bool { return l.Port == 514 && l.Loopback == loopback })
	}
	if !at(true) || at(false) {
		return nil
	}
	found := loopbackOnly{Server: "rsyslogd 514/udp", Unit: probes.Some("rsyslog.service"), Port: 514}
	boundServerOf("rsyslogd").look(h, &found, 0)
	if found.Line == "" {
		return nil
	}
	return []loopbackOnly{found}
}

func (s *boundServer) look(h host.Host, found *loopbackOnly, pid int) {
	files := s.files
	if s.files == nil { // PostgreSQL's lie where it was told to look
		data, _ := h.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		dir := postgresConfig(h, pid, data)
		files = []string{dir + "/postgresql.conf", dir + "/conf.d/", data + "/postgresql.auto.conf"}
		found.Meant = foreignRule(h, dir+"/pg_hba.conf")
	}
	n := 0
	for _, name := range files {
		list := []string{name}
		if dir, ok := strings.CutSuffix(name, "/"); ok {
			entries, _ := h.ReadDir(dir)
			list = nil
			for _, e := range entries {
				if strings.HasSuffix(e.Name, ".conf") || strings.HasSuffix(e.Name, ".cnf") || strings.HasSuffix(e.Name, ".cfg") {
					list = append(list, name+e.Name)
				}
			}
		}
		for _, file := range list {
			if n++; n > maxBoundFiles {
				return
			}
			s.lookIn(h, found, file)
		}
	}
}

// lookIn keeps the last line that binds to loopback, which is the one that holds.
func (s *boundServer) lookIn(h host.Host, found *loopbackOnly, file string) {
	fi, err := h.Stat(file)
	if err != nil || !fi.Mode.IsRegular() || fi.Size > maxConfigText {
		return
	}
	text, err := readText(h, file)
	if err != nil {
		return
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		trimmed := strings.TrimSpace(line)
		if s.bind.MatchString(line) && !strings.HasPrefix(trimmed, "#") && !strings.HasPrefix(trimmed, ";") && !slices.Contains(redisOwn, trimmed) {
			found.Line, found.Changed = fmt.Sprintf("%s:%d: %.100s", file, n, trimmed), probes.Some(max(0, h.Now().Sub(fi.ModTime)))
		}
	}
}

// foreignRule is the first line of pg_hba.conf that lets in hosts beyond loopback.
func foreignRule(h host.Files, file string) string {
	text, err := readText(h, file)
	if err != nil {
		return ""
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) < 5 || !strings.HasPrefix(words[0], "host") || words[len(words)-1] == "reject" || words[4] == "reject" {
			continue
		}
		address, _, _ := strings.Cut(words[3], "/")
		if a, err := netip.ParseAddr(address); err == nil && !a.IsLoopback() || words[3] == "all" || words[3] == "samenet" {
			return fmt.Sprintf("%s:%d: %s", file, n, strings.Join(words, " "))
		}
	}
	return ""
}
