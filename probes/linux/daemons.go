package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Daemons asks the usual servers of this host how they are.
var Daemons = probes.Define(probes.Probe[host.Host]{
	Name: "daemons",
	Doc: `Health of databases, HAProxy, container runtimes and kubelet

Asks each Redis, PostgreSQL, MySQL or MariaDB, HAProxy, Docker, containerd and kubelet that runs on this host one question (a second time if it is silent, and some times more where a Redis is silent and computes, or has lost keys), over loopback or its Unix socket: what its
own tools ask to see whether it serves (PING and INFO, the startup packet that pg_isready sends, MySQL's greeting, HAProxy's show stat, /_ping, /healthz). No account is
used and nobody logs in: PostgreSQL is asked as the user "hostmend", and left once it answers; MySQL and MariaDB do not count loopback clients
towards max_connect_errors, though MariaDB may log an aborted connection. Costs 1 ms and what the servers need; each is given a second. Only TCP ports that
loopback reaches are asked, and only if their process has the server's name; one that is reached by a Unix socket or by TLS alone is not judged.
Of PostgreSQL, MySQL and MariaDB it reads the end of their own log if it was written in the last ten minutes (32 KiB, or journalctl, 10 ms, where it is in the journal).
What only those meet who log in is not seen: the last connection slots of PostgreSQL and MySQL are kept for administrators, and
other clients are refused before answer says connections-full.`,
	Needs:   probes.Root | probes.Network,
	Every:   30 * time.Second,
	Timeout: 8 * time.Second, // of a Redis that is busy; see untilBusy
}, daemons)

type daemonsFacts struct {
	List     []daemonFacts   `fact:"list" doc:"The servers that were asked"`
	Refusals []daemonRefusal `fact:"refusals" doc:"Databases whose logs say that they turn away clients of this host or of private networks: of each, what it said most"`
	Files    []daemonFile    `fact:"files" doc:"Files that databases cannot use, as their logs say and as it still is"`
	NoTCP    []daemonNoTCP   `fact:"without_tcp" doc:"Databases that run, by their usual pid files, and listen on no TCP port"`
	Damaged  []daemonDamage  `fact:"damaged" doc:"What Docker's log of the last ten minutes says of images and layers on its disk that are damaged"`
	Room     []daemonRoom    `fact:"room" doc:"Where their logs say that there was no room, and the directory of temporary files of MySQL and MariaDB"`
}

type daemonFacts struct {
	Where  string             `fact:"where,key" doc:"Kind and address, as in redis 127.0.0.1:6379"`
	Kind   string             `fact:"kind" doc:"redis, postgresql, mysql, kubelet, docker, containerd, haproxy"`
	PID    int                `fact:"pid" unit:"pid" doc:"Its process"`
	Unit   probes.Opt[string] `fact:"unit" doc:"Its systemd service; absent outside of any"`
	Answer string             `fact:"answer" doc:"ok: it serves; connections-full, save-failing, busy, command-off, master-down, loading, starting, host-blocked, out-of-disk, out-of-memory: it refuses; unhealthy: kubelet says so; silent: twice it took the connection and said nothing for a second; refused: it took none; other: it said something else"`
	Says   string             `fact:"says" doc:"Its words, if it refuses"`
	Took   time.Duration      `fact:"took" doc:"Until it had answered; 0 if it did not"`

	Memory      probes.Opt[int]           `fact:"memory" unit:"bytes" doc:"Redis: memory that its data uses (used_memory)"`
	MemoryMax   probes.Opt[int]           `fact:"memory_max" unit:"bytes" doc:"Redis: maxmemory; 0 is without a limit"`
	Policy      probes.Opt[string]        `fact:"policy" doc:"Redis: maxmemory_policy"`
	Clients     probes.Opt[int]           `fact:"clients" unit:"count" doc:"Redis: connected clients"`
	ClientsMax  probes.Opt[int]           `fact:"clients_max" unit:"count" doc:"Redis: maxclients; absent before Redis 6"`
	Role        probes.Opt[string]        `fact:"role" doc:"Redis: master or slave"`
	Master      probes.Opt[string]        `fact:"master" doc:"Redis: of a replica, the address of its master"`
	LinkDown    probes.Opt[bool]          `fact:"link_down" doc:"Redis: of a replica, its master does not answer and no copying is under way"`
	FewCopies   probes.Opt[bool]          `fact:"too_few_replicas" doc:"Redis: min-replicas-to-write is set and no replica is well, so that it refuses writes"`
	Waiting     int                       `fact:"waiting" unit:"count" doc:"PostgreSQL: sessions that have waited for a lock for a second at least, by the titles of its processes (update_process_title); MySQL, MariaDB: connections that neither idled nor got on for a second, where it has a thread for each; 0 if fewer than three"`
	IdleInTx    []string                  `fact:"idle_in_transaction" doc:"PostgreSQL: where sessions wait, those that have been idle within an open transaction for a second at least: pid, user, database, client; five at most"`
	Down        []string                  `fact:"down" doc:"HAProxy: backends without a server that is up, and what was said of their servers"`
	Partly      []string                  `fact:"servers_down" doc:"HAProxy: servers that are down in backends that have others"`
	Full        []string                  `fact:"full" doc:"HAProxy: frontends that have as many sessions as maxconn allows, and servers whose queue is not empty"`
	Keys        probes.Opt[int]           `fact:"keys" unit:"count" doc:"Redis: keys that it holds"`
	Evicts      probes.Opt[float64]       `fact:"evicted_per_s" unit:"1/s" doc:"Redis: keys that it gave up for want of memory, between two questions; absent where it has never lost a key"`
	Expires     probes.Opt[float64]       `fact:"expired_per_s" unit:"1/s" doc:"Redis: keys whose time was up, between two questions, or since it started if that is more; absent where it has never lost a key"`
	Flushes     int                       `fact:"flushes" unit:"count" doc:"Redis: how often it was emptied since it started (FLUSHALL, FLUSHDB); only asked where it has lost keys"`
	FlushEvery  probes.Opt[time.Duration] `fact:"flush_every" doc:"Redis: the mean time between these; absent if there was none"`
	Removals    []string                  `fact:"removals" doc:"Redis: which commands removed keys since it started, and how often"`
	Hits        probes.Opt[float64]       `fact:"hits_per_s" unit:"1/s" doc:"Redis: reads that found their key, between two questions; only asked where it has lost keys, has many, computes much or misses much"`
	Misses      probes.Opt[float64]       `fact:"misses_per_s" unit:"1/s" doc:"Redis: reads that did not find their key, between two questions; as hits_per_s"`
	Slow        int                       `fact:"slow" unit:"count" doc:"Redis: commands of the last minute in the newest 32 entries of its slow log; asked as hits_per_s"`
	SlowPct     probes.Opt[float64]       `fact:"slow_pct" unit:"%" doc:"Redis: how much of the time since the first of them they took; while one runs nobody else is served"`
	SlowLongest probes.Opt[time.Duration] `fact:"slow_longest" doc:"Redis: of the kind of command that took most of it, how long the longest took"`
	SlowMost    string                    `fact:"slow_command" doc:"Redis: that one, with its first argument, 60 characters at most"`
	SlowFrom    string                    `fact:"slow_client" doc:"Redis: whence that came, ADDRESS:PORT"`
	Closed      string                    `fact:"closed" doc:"Redis: where it cannot save, what keeps its user from writing the directory that it runs in, which is where its data goes; empty if nothing is seen"`
	SaveFailed  probes.Opt[bool]          `fact:"save_failed" doc:"Redis: its last snapshot, or its last write to the append-only file, failed"`
}

// server is a program that is asked, and how.
type server struct {
	kind     string
	commands []string // its process's name
	port     int      // its usual one; what it listens on besides (Redis's cluster bus) is left alone where this is there
	question host.Question
	judge    func(*daemonFacts, string)
	only     bool // it is asked at its usual port or not at all
}

var servers = []server{
	{"redis", []string{"redis-server", "valkey-server"}, 6379, host.Question{Say: "PING\r\nINFO\r\nQUIT\r\n", UntilClose: true}, judgeRedis, false},
	{"postgresql", []string{"postgres", "postmaster"}, 5432, host.Question{Say: postgresStartup}, judgePostgres, false},
	{"mysql", []string{"mysqld", "mariadbd"}, 3306, host.Question{}, judgeMySQL, false},
	// healthzPort of its configuration; what else it listens on speaks TLS.
	{"kubelet", []string{"kubelet"}, 10248, host.Question{Say: "GET /healthz HTTP/1.0\r\n\r\n", UntilClose: true}, judgeKubelet, true},
}

// runtimes are asked over their Unix socket, if their process is there: a socket without it is the service manager's, and to ask
// there would start them.
var runtimes = []struct {
	kind, command, pidfile, socket string
	question                       host.Question
}{
	{"docker", "dockerd", "/run/docker.pid", "/run/docker.sock", host.Question{Say: "GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"}},
	// The preface of HTTP/2 and empty settings (RFC 9113 section 3.4), to which a gRPC server answers with its own settings.
	{"containerd", "containerd", "", "/run/containerd/containerd.sock", host.Question{Say: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"}},
	// Where Debian's and the Red Hat family's haproxy.cfg have it.
	{"haproxy", "haproxy", "/run/haproxy.pid", "/run/haproxy/admin.sock", host.Question{Say: "show stat\n", UntilClose: true}},
	{"haproxy", "haproxy", "/run/haproxy.pid", "/var/lib/haproxy/stats", host.Question{Say: "show stat\n", UntilClose: true}},
}

func daemons(ctx context.Context, h host.Host) (daemonsFacts, error) {
	found, questions, err := findServers(ctx, h)
	if err != nil {
		return daemonsFacts{}, err
	}
	var asked sync.WaitGroup
	for i := range found {
		asked.Go(func() { found[i].ask(ctx, h, questions[i]) })
	}
	asked.Wait()
	hidden := daemonsWithoutTCP(ctx, h)
	if len(found)+len(hidden) == 0 {
		return daemonsFacts{}, probes.NoData("none of the servers that it knows runs here")
	}
	f := daemonsFacts{List: found, Refusals: []daemonRefusal{}, Files: []daemonFile{}, Room: []daemonRoom{}, Damaged: []daemonDamage{}, NoTCP: hidden}
	for i := range found {
		if found[i].Kind == "docker" {
			f.Damaged = dockerDamage(ctx, h)
			continue
		}
		f.add(readDaemonLog(ctx, h, &found[i]))
	}
	return f, nil
}

func (f *daemonsFacts) add(l *daemonLog) {
	if len(l.refusals) > 0 {
		f.Refusals = append(f.Refusals, slices.MaxFunc(l.refusals, func(a, b daemonRefusal) int { return cmp.Compare(a.Count, b.Count) }))
	}
	for _, file := range l.files {
		if !slices.ContainsFunc(f.Files, func(o daemonFile) bool { return o.Path == file.Path }) {
			f.Files = append(f.Files, file)
		}
	}
	for _, room := range l.rooms {
		if !slices.ContainsFunc(f.Room, func(o daemonRoom) bool { return o.Directory == room.Directory }) {
			f.Room = append(f.Room, room)
		}
	}
}

// asking is a question and what to make of the answer.
type asking struct {
	host.Question
	judge func(*daemonFacts, string)
}

func findServers(ctx context.Context, h host.Host) (found []daemonFacts, questions []asking, err error) {
	ports := map[uint32]netip.AddrPort{}
	err = h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		if a, ok := fromLoopback(s); ok {
			ports[s.Inode] = a
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	owners, err := listenerOwners(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range servers {
		for _, at := range s.listeners(owners, ports) {
			if s.only && int(at.port.Port()) != s.port {
				continue
			}
			q := s.question
			q.Socket = at.port.String()
			found, questions = append(found, newDaemon(s.kind, q.Socket, at.owner)), append(questions, asking{q, s.judge})
		}
	}
	for _, r := range runtimes {
		if pid := runtimeProcess(h, r.command, r.pidfile, r.socket); pid > 0 {
			q := r.question
			q.Socket = r.socket
			unit, _ := processUnit(h, pid).Get()
			judge := judgeRuntime
			if r.kind == "haproxy" {
				judge = judgeHAProxy
			}
			found, questions = append(found, newDaemon(r.kind, r.socket, owner{pid, r.command, unit})), append(questions, asking{q, judge})
		}
	}
	return found, questions, nil
}

func newDaemon(kind, socket string, o owner) daemonFacts {
	d := daemonFacts{Where: kind + " " + socket, Kind: kind, PID: o.pid}
	if o.unit != "" {
		d.Unit = probes.Some(o.unit)
	}
	return d
}

// fromLoopback is the address at which this host reaches a listener without leaving itself.
func fromLoopback(s *host.Socket) (netip.AddrPort, bool) {
	addr := s.Local.Addr()
	switch {
	case addr.IsLoopback():
	case addr.Is4() && addr.IsUnspecified(), addr.IsUnspecified() && !s.V6Only:
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case addr.IsUnspecified():
		addr = netip.IPv6Loopback()
	default:
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, s.Local.Port()), true
}

type listening struct {
	owner owner
	port  netip.AddrPort
}

// listeners are where a kind of server is to be asked: each of its processes once, at its usual port if it listens there.
func (s *server) listeners(owners map[uint32]owner, ports map[uint32]netip.AddrPort) []listening {
	best := map[int]listening{}
	for inode, port := range ports {
		o := owners[inode]
		l := listening{o, port}
		if b, ok := best[o.pid]; slices.Contains(s.commands, o.command) && (!ok || s.better(l.port, b.port)) {
			best[o.pid] = l
		}
	}
	var list []listening
	for _, l := range best {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b listening) int { return a.port.Compare(b.port) })
	return list
}

func (s *server) better(a, b netip.AddrPort) bool {
	if usual := int(a.Port()) == s.port; usual != (int(b.Port()) == s.port) {
		return usual
	}
	if a.Port() != b.Port() {
		return a.Port() < b.Port()
	}
	return a.Addr().Less(b.Addr())
}

// runtimeProcess is the pid of a container runtime that runs and has its socket; 0 if it does not.
func runtimeProcess(h host.Files, command, pidfile, socket string) int {
	if !isThere(h, socket) {
		return 0
	}
	var pids []int
	if pidfile != "" {
		if pid, err := readInt(h, pidfile); err == nil {
			pids = []int{pid}
		}
	} else {
		pids = groupProcesses(h, "/system.slice/"+command+".service")
	}
	for _, pid := range pids {
		if comm, err := readLine(h, fmt.Sprintf("/proc/%d/comm", pid)); err == nil && comm == command {
			return pid
		}
	}
	return 0
}

// ask puts the question, and again to one that was silent: it may have been busy at that moment.
func (d *daemonFacts) ask(ctx context.Context, h host.Host, q asking) {
	reply, err := h.Exchange(ctx, q.Question)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		reply, err = h.Exchange(ctx, q.Question)
	}
	if d.Kind == "redis" && errors.Is(err, context.DeadlineExceeded) {
		reply, err = d.untilBusy(ctx, h, q.Question)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		d.Answer = "silent"
	case err != nil:
		d.Answer, d.Says = "refused", err.Error()
	default:
		d.Took = reply.Took
		q.judge(d, reply.Text)
		if d.Answer == "save-failing" {
			d.lookAtDirectory(h)
		}
		if d.Kind == "redis" && d.Answer == "ok" {
			d.lookAtKeys(ctx, h, q.Question, reply.Text)
		}
	}
	switch {
	case d.Kind == "postgresql":
		d.lookAtSessions(ctx, h)
	case d.Kind == "mysql" && d.Answer == "ok":
		d.lookAtThreads(ctx, h)
	}
}

// untilBusy asks a Redis that computes until it says what it is at: while a script runs it answers nobody for its first five seconds
// (busy-reply-threshold in redis.conf), and -BUSY then.
func (d *daemonFacts) untilBusy(ctx context.Context, h host.Host, q host.Question) (host.Reply, error) {
	err := context.DeadlineExceeded
	for range 5 {
		line, unread := readLine(h, fmt.Sprintf("/proc/%d/stat", d.PID))
		p, odd := parseProcess(line)
		if unread != nil || odd != nil || p.state != 'R' || ctx.Err() != nil {
			break
		}
		var reply host.Reply
		if reply, err = h.Exchange(ctx, q); !errors.Is(err, context.DeadlineExceeded) {
			return reply, err
		}
	}
	return host.Reply{}, err
}

// lookAtDirectory finds out whether a Redis may write where it runs, which is its dir.
func (d *daemonFacts) lookAtDirectory(h host.Files) {
	directory, err := h.Readlink(fmt.Sprintf("/proc/%d/cwd", d.PID))
	process, unread := h.Stat(fmt.Sprintf("/proc/%d", d.PID))
	if err == nil && unread == nil {
		d.Closed = closedTo(h, directory, strconv.Itoa(process.UID), "", mayWrite|mayEnter)
	}
}

// refuse notes a refusal and its words.
func (d *daemonFacts) refuse(answer, says string) { d.Answer, d.Says = answer, redactLine(says) }

// judgeRedis reads the answers to PING and INFO: https://redis.io/docs/latest/commands/info/. One that wants a password serves.
func judgeRedis(d *daemonFacts, text string) {
	first, rest, _ := strings.Cut(text, "\r\n")
	d.Answer = "other"
	switch {
	case first == "+PONG", strings.HasPrefix(first, "-NOAUTH"):
		d.Answer = "ok"
	case strings.HasPrefix(first, "-MISCONF"):
		d.refuse("save-failing", first[1:])
	case strings.HasPrefix(first, "-BUSY"):
		d.refuse("busy", first[1:])
	case strings.HasPrefix(first, "-MASTERDOWN"):
		d.refuse("master-down", first[1:])
	case strings.HasPrefix(first, "-LOADING"):
		d.refuse("loading", first[1:])
	case strings.HasPrefix(first, "-ERR max number of clients"):
		d.refuse("connections-full", first[1:])
	case strings.HasPrefix(first, "-ERR unknown command"), strings.HasPrefix(first, "-NOPERM"): // to PING: rename-command, or the ACL of the default user
		d.refuse("command-off", first[1:])
	case strings.HasPrefix(first, "-"):
		d.Says = redactLine(first[1:])
	}
	info := redisInfo(rest)
	number := func(key string) probes.Opt[int] {
		if n, err := strconv.Atoi(info[key]); err == nil {
			return probes.Some(n)
		}
		return probes.None[int]()
	}
	d.Memory, d.MemoryMax, d.Clients, d.ClientsMax = number("used_memory"), number("maxmemory"), number("connected_clients"), number("maxclients")
	if policy := info["maxmemory_policy"]; policy != "" {
		d.Policy = probes.Some(policy)
	}
	if role := info["role"]; role != "" {
		d.Role = probes.Some(role)
		d.FewCopies = probes.Some(info["min_slaves_good_slaves"] == "0")
	}
	if info["role"] == "slave" {
		d.Master = probes.Some(info["master_host"] + ":" + info["master_port"])
		d.LinkDown = probes.Some(info["master_link_status"] == "down" && info["master_sync_in_progress"] != "1")
	}
	if save := info["rdb_last_bgsave_status"]; save != "" {
		d.SaveFailed = probes.Some(save == "err" || info["aof_last_write_status"] == "err")
	}
}

// postgresStartup is a StartupMessage of protocol 3.0 (https://www.postgresql.org/docs/current/protocol-message-formats.html): its
// length, its version, and pairs of names and values.
var postgresStartup = func() string {
	body := "\x00\x03\x00\x00user\x00hostmend\x00database\x00template1\x00application_name\x00hostmend\x00\x00"
	return "\x00\x00\x00" + string(rune(len(body)+4)) + body
}()

// judgePostgres reads an AuthenticationRequest (R), or an ErrorResponse (E) with its fields: C is the SQLSTATE, M the message
// (https://www.postgresql.org/docs/current/errcodes-appendix.html). That this user may not come in is the answer of one that serves.
func judgePostgres(d *daemonFacts, text string) {
	if !strings.HasPrefix(text, "E") {
		d.Answer = "ok"
		if !strings.HasPrefix(text, "R") {
			d.Answer = "other"
		}
		return
	}
	var state, message string
	for field := range strings.SplitSeq(text, "\x00") {
		switch {
		case strings.HasPrefix(field, "C") && len(field) == 6:
			state = field[1:]
		case strings.HasPrefix(field, "M"):
			message = field[1:]
		}
	}
	switch state {
	case "53300":
		d.refuse("connections-full", message)
	case "57P03":
		d.refuse("starting", message)
	case "53100":
		d.refuse("out-of-disk", message)
	case "53200":
		d.refuse("out-of-memory", message)
	default:
		d.Answer = "ok"
	}
}

// judgeMySQL reads a greeting, which begins with the protocol's version 10, or an error packet, 255 and the error's number, behind four
// bytes of length and order (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html). That this host may not
// come in (1130) is the answer of one that serves.
func judgeMySQL(d *daemonFacts, text string) {
	r := []rune(text)
	switch {
	case len(r) < 7:
		d.Answer = "other"
	case r[4] == 10:
		d.Answer = "ok"
	case r[4] != '\uFFFD':
		d.Answer = "other"
	default:
		says := string(r[7:])
		switch number := int(r[5]) | int(r[6])<<8; number {
		case 1040: // ER_CON_COUNT_ERROR
			d.refuse("connections-full", says)
		case 1129: // ER_HOST_IS_BLOCKED
			d.refuse("host-blocked", says)
		case 1130: // ER_HOST_NOT_PRIVILEGED
			d.Answer = "ok"
		default:
			d.refuse("other", fmt.Sprintf("%d %s", number, says))
		}
	}
}

// judgeRuntime takes any answer for one: what a container runtime has that hangs is none.
func judgeRuntime(d *daemonFacts, text string) {
	d.Answer = "ok"
	if d.Kind == "docker" && !strings.Contains(text, " 200 ") {
		d.Answer = "other"
		d.Says, _, _ = strings.Cut(text, "\r\n")
	}
}

// judgeKubelet reads the answer to /healthz: 200, or 500 and what is wrong.
func judgeKubelet(d *daemonFacts, text string) {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	status, _, _ := strings.Cut(head, "\r\n")
	switch {
	case strings.Contains(status, " 200 "):
		d.Answer = "ok"
	case strings.Contains(status, " 500 "):
		d.refuse("unhealthy", strings.TrimSpace(body))
	default:
		d.refuse("other", status)
	}
}
