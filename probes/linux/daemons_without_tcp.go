package linux

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// daemonNoTCP is a database that only its Unix socket leads to, or that listens where programs on this host do not look.
type daemonNoTCP struct {
	Kind string             `fact:"kind,key" doc:"redis, postgresql or mysql"`
	PID  int                `fact:"pid" unit:"pid" doc:"Its process"`
	Unit probes.Opt[string] `fact:"unit" doc:"Its systemd service; absent outside of any"`
	Port int                `fact:"port" unit:"port" doc:"Where its clients usually look for it"`
	At   []string           `fact:"at" doc:"The TCP addresses that it listens on: none, or neither the loopback address nor all"`
	Set  string             `fact:"set_in" doc:"The line of its configuration that says so, as FILE:LINE: TEXT, if that file changed within a day; else empty"`
	New  bool               `fact:"set_anew" doc:"That file changed an hour or more after the database was made: clients may know it otherwise"`
}

// pidFiles are where Debian, the Red Hat family and the servers themselves note their pid, in the first line.
var pidFiles = []struct{ kind, file string }{
	{"redis", "/run/redis/redis-server.pid"},
	{"redis", "/run/redis_6379.pid"},
	{"mysql", "/run/mysqld/mysqld.pid"},
	{"mysql", "/run/mariadb/mariadb.pid"},
	{"postgresql", "/run/postgresql/.s.PGSQL.5432.lock"},
}

// daemonsWithoutTCP looks for databases that run and own no listening TCP socket, or none that 127.0.0.1 reaches.
func daemonsWithoutTCP(ctx context.Context, h host.Host) []daemonNoTCP {
	list := []daemonNoTCP{}
	for _, f := range pidFiles {
		known := slices.ContainsFunc(list, func(d daemonNoTCP) bool { return d.Kind == f.kind })
		text, err := readText(h, f.file)
		if err != nil || known {
			continue
		}
		first, _, _ := strings.Cut(text, "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(first))
		if err != nil {
			continue
		}
		s := servers[slices.IndexFunc(servers, func(s server) bool { return s.kind == f.kind })]
		comm, err := readLine(h, fmt.Sprintf("/proc/%d/comm", pid))
		owners, unread := listenerOwners(ctx, h)
		if err != nil || unread != nil || !slices.Contains(s.commands, comm) {
			continue
		}
		at := []string{}
		unread = h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
			if o, ok := owners[s.Inode]; ok && o.pid == pid {
				at = append(at, s.Local.String())
			}
			return nil
		})
		if unread != nil || slices.ContainsFunc(at, reachedHere) {
			continue
		}
		d := daemonNoTCP{Kind: f.kind, PID: pid, Unit: processUnit(h, pid), Port: s.port, At: at}
		d.listensSetIn(h)
		list = append(list, d)
	}
	return list
}

// reachedHere reports whether a program that asks 127.0.0.1 finds who listens there.
func reachedHere(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err != nil || a.Addr().Unmap().IsLoopback() || a.Addr().IsUnspecified()
}

// listenSettings are where databases are told where to listen.
var listenSettings = map[string]struct {
	dirs  []string
	lines *regexp.Regexp
	made  string // what was written when the database was made, and never since
}{
	"redis":      {[]string{"/etc/redis", "/etc"}, regexp.MustCompile(`^(?:bind\s|port\s+0)`), ""},
	"mysql":      {[]string{"/etc/mysql/mariadb.conf.d", "/etc/mysql/mysql.conf.d", "/etc/mysql/conf.d", "/etc/mysql", "/etc/my.cnf.d", "/etc"}, regexp.MustCompile(`^(?:skip[-_]networking|bind[-_]address|port\s*=\s*0)`), "/var/lib/mysql/sys"},
	"postgresql": {[]string{"/var/lib/postgresql/*/main", "/etc/postgresql/*/main", "/var/lib/pgsql/data"}, regexp.MustCompile(`^listen_addresses\s*=`), "PG_VERSION"},
}

// listensSetIn finds the line in a file that changed within a day.
func (d *daemonNoTCP) listensSetIn(h host.Host) {
	settings := listenSettings[d.Kind]
	made := settings.made
	for _, dir := range settings.dirs {
		if before, after, ok := strings.Cut(dir, "/*"); ok { // one version of the server
			if entries, err := h.ReadDir(before); err == nil && len(entries) > 0 {
				dir = before + "/" + entries[len(entries)-1].Name + after
			}
		}
		entries, err := h.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := dir + "/" + e.Name
			if e.Name == made {
				made = name // it sorts before the configuration
			}
			if !strings.HasSuffix(e.Name, ".conf") && !strings.HasSuffix(e.Name, ".cnf") || dir == "/etc" && e.Name != "my.cnf" && e.Name != "redis.conf" {
				continue
			}
			fi, err := h.Stat(name)
			if err != nil || h.Now().Sub(fi.ModTime) > 24*time.Hour {
				continue
			}
			text, err := h.ReadFile(name)
			if err != nil {
				continue
			}
			n, found := 0, ""
			for line := range strings.Lines(string(text)) {
				if n++; settings.lines.MatchString(strings.TrimSpace(line)) {
					found = fmt.Sprintf("%s:%d: %.100s", name, n, strings.TrimSpace(line))
				}
			}
			if found != "" && d.Set == "" {
				d.Set = found
				first, err := h.Stat(made)
				d.New = err == nil && fi.ModTime.Sub(first.ModTime) > time.Hour
			}
		}
	}
}
