package linux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// The forms in which programs name whom they ask: "dial tcp 10.0.0.1:5432", "at 127.0.0.1:6379", "http://api:8080/", "127.0.0.1 port 21", `"db", port 5432`.
var (
	askedPort  = regexp.MustCompile(`(?i)(?:://|@|\b(?:tcp|to|at|on)\s+['"]?)(\[[0-9a-f:.]+\]|[a-z0-9][\w-]*[a-z.][\w.-]*):(\d{1,5})\b`) // a time of day has no letter and no dot
	askedWords = regexp.MustCompile(`(?i)['"]?([a-z0-9][\w.:-]*?)['"]?(?: \([0-9a-f.:]+\))?,? port:? (\d{1,5})\b`)
	askedHost  = regexp.MustCompile(`https?://([\w.-]+)`)
)

// The forms in which they name what does not resolve.
var (
	askedName  = regexp.MustCompile(`(?i)(?:could not resolve (?:host(?:name)?|address)?:?|couldn't resolve (?:host(?:name)?)?:?|lookup|(?:ENOTFOUND|EAI_AGAIN)|not found in upstream|translate host ?name|server host|getaddrinfo for host|UnknownHostException:|failed to resolve:?) ['"]?([a-z0-9][\w.-]*\w)`)
	unresolved = regexp.MustCompile(`(?i)(?:^|[\s'"])([a-z0-9][\w.-]*\w)['"]?: (?:name or service not known|temporary failure in name|no address associated)`)
)

// nameAsked finds whom a program could not reach, and what of it can be seen on this host.
func (u *unitFacts) nameAsked(ctx context.Context, h host.Host, command string) {
	switch u.Reason {
	case "name-unresolved":
		for _, form := range []*regexp.Regexp{askedName, unresolved} {
			if m := form.FindStringSubmatch(u.Sign); m != nil {
				u.Object = m[1]
				return
			}
		}
		return
	case "certificate-refused":
		if m := askedHost.FindStringSubmatch(u.Sign + " " + command); m != nil {
			u.Object = m[1]
		}
		return
	}
	for _, form := range []*regexp.Regexp{askedPort, askedWords} {
		m := form.FindStringSubmatch(u.Sign)
		if m == nil {
			continue
		}
		u.Object = net.JoinHostPort(strings.Trim(m[1], "[]"), m[2])
		port, err := strconv.Atoi(m[2])
		if err == nil && u.Detail == "" && isLoopback(m[1]) && holderOf(ctx, h, port) == probes.None[string]() {
			u.Detail = "nobody on this host listens on port " + m[2]
		}
		return
	}
	name := objectIn(u.Sign)
	if !strings.Contains(name, "sock") && !strings.Contains(name, ".PGSQL.") {
		return
	}
	u.Object = name
	if !gone(h, name) || u.Detail != "" {
		return
	}
	u.Detail = name + " is not there"
	if other := socketAlike(h, name); other != "" {
		u.Detail += ", and a server listens on " + other
	}
}

func isLoopback(name string) bool {
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && addr.IsLoopback()
}

// socketAlike is a socket that somebody listens on elsewhere and that is named like one that is not there: mysql.sock, mysqld.sock.
func socketAlike(h host.Files, name string) string {
	text, err := h.ReadFile("/proc/net/unix")
	if err != nil {
		return ""
	}
	stem := func(name string) string {
		return strings.TrimRight(strings.TrimSuffix(path.Base(name), ".sock"), "d")
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // Num RefCount Protocol Flags Type St Inode Path; __SO_ACCEPTCON is 0x10000
		if len(f) == 8 && f[3] == "00010000" && f[7] != name && stem(f[7]) == stem(name) {
			return f[7]
		}
	}
	return ""
}

// lowPort tells of a program that runs as a user and wants a port that only root may bind (ip(7), ip_unprivileged_port_start).
func (u *unitFacts) lowPort(h host.Files, property func(string) string) {
	user := property("User")
	if user == "" || user == "root" || user == "0" || u.Object != "" || u.Detail != "" || strings.Contains(property("AmbientCapabilities"), "cap_net_bind_service") {
		return
	}
	if !bindCall.MatchString(strings.Join(u.Log, "\n")) {
		return
	}
	port, ok := portIn(u.Sign).Get()
	if !ok {
		if m := portArgument.FindStringSubmatch(property("ExecStart")); m != nil {
			port, _ = strconv.Atoi(m[1])
		}
	}
	first := 1024
	if n, err := readInt(h, "/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		first = int(n)
	}
	if port > 0 && port < first {
		u.Object = "port " + strconv.Itoa(port)
		u.Detail = fmt.Sprintf("ports below %d are root's, and it runs as %s without AmbientCapabilities=CAP_NET_BIND_SERVICE", first, user)
	}
}

// A call of bind in a complaint, and a port in a command: "-p 81", "--port=81", "0.0.0.0:81".
var (
	bindCall     = regexp.MustCompile(`(?i)\bbind(?:ing)?\b|\blisten(?:ing)?\b|server_bind`)
	portArgument = regexp.MustCompile(`argv\[\]=[^;]*?[ :=](\d{1,4})\b`)
)
