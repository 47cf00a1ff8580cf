package linux

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// daemonNoTCP is a database that only its Unix socket leads to.
type daemonNoTCP struct {
	Kind string             `fact:"kind,key" doc:"redis, postgresql or mysql"`
	PID  int                `fact:"pid" unit:"pid" doc:"Its process"`
	Unit probes.Opt[string] `fact:"unit" doc:"Its systemd service; absent outside of any"`
	Port int                `fact:"port" unit:"port" doc:"Where its clients usually look for it"`
}

// pidFiles are where Debian, the Red Hat family and the servers themselves note their pid, in the first line.
var pidFiles = []struct{ kind, file string }{
	{"redis", "/run/redis/redis-server.pid"},
	{"redis", "/run/redis_6379.pid"},
	{"mysql", "/run/mysqld/mysqld.pid"},
	{"mysql", "/run/mariadb/mariadb.pid"},
	{"postgresql", "/run/postgresql/.s.PGSQL.5432.lock"},
}

// daemonsWithoutTCP looks for databases that run and own no listening TCP socket.
func daemonsWithoutTCP(ctx context.Context, h host.Host, found []daemonFacts) []daemonNoTCP {
	list := []daemonNoTCP{}
	for _, f := range pidFiles {
		known := slices.ContainsFunc(found, func(d daemonFacts) bool { return d.Kind == f.kind }) || slices.ContainsFunc(list, func(d daemonNoTCP) bool { return d.Kind == f.kind })
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
		listens := false
		for _, o := range owners {
			listens = listens || o.pid == pid
		}
		if !listens {
			list = append(list, daemonNoTCP{f.kind, pid, processUnit(h, pid), s.port})
		}
	}
	return list
}
