package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// NTPOffset compares the clock with the time servers that this host is configured to use.
var NTPOffset = probes.Define(probes.Probe[host.Host]{
	Name: "ntp_offset",
	Doc: `Offset from the time servers

Asks up to three of the servers that chrony, systemd-timesyncd or ntpd is configured with (on an Alibaba Cloud instance without any,
ntp.cloud.aliyuncs.com) by SNTP, once more after a second of silence, and takes the median. It does not ask servers that nobody configured. The error is at most half the
round trip. A dead resolver makes servers unreachable that are given by name. Costs 0.5 ms of CPU and at most 2 s of waiting.`,
	Needs:   probes.Network,
	Every:   5 * time.Minute,
	Timeout: 3 * time.Second,
}, ntpOffset)

type ntpOffsetFacts struct {
	Servers []ntpServer          `fact:"servers" doc:"The servers that were asked"`
	Answers int                  `fact:"answers" unit:"count" doc:"Those that answered and are synchronised themselves"`
	Offset  probes.Opt[duration] `fact:"offset" doc:"What must be added to this clock, the median of the answers; absent without any"`
	OffBy   probes.Opt[duration] `fact:"off_by" doc:"The same without its sign"`
}

type ntpServer struct {
	Name    string               `fact:"name,key" doc:"Name or address"`
	Offset  probes.Opt[duration] `fact:"offset" doc:"What must be added to this clock, by this server"`
	RTT     probes.Opt[duration] `fact:"rtt" doc:"Round trip"`
	Stratum probes.Opt[int]      `fact:"stratum" unit:"count" doc:"Its distance from a reference clock; 16: not synchronised, 0: it wants not to be asked"`
	Why     probes.Opt[string]   `fact:"why" doc:"Why there is no answer that counts"`
}

const (
	maxNTPServers = 3
	ntpWait       = 2 * time.Second
	unsynchronous = 16 // RFC 5905, figure 11
)

func ntpOffset(ctx context.Context, h host.Host) (ntpOffsetFacts, error) {
	names, err := ntpServers(h)
	if err != nil {
		return ntpOffsetFacts{}, err
	}
	if len(names) == 0 {
		return ntpOffsetFacts{}, probes.NoData("no time server is configured")
	}
	ctx, cancel := context.WithTimeout(ctx, ntpWait)
	defer cancel()
	f := ntpOffsetFacts{Servers: make([]ntpServer, len(names))}
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { f.Servers[i], errs[i] = askTime(ctx, h, name) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return f, err
	}
	var offsets []time.Duration
	for _, s := range f.Servers {
		if o, ok := s.Offset.Get(); ok {
			offsets = append(offsets, o)
		}
	}
	if f.Answers = len(offsets); f.Answers > 0 {
		slices.Sort(offsets)
		median := offsets[(len(offsets)-1)/2]
		f.Offset, f.OffBy = probes.Some(median), probes.Some(median.Abs())
	}
	return f, nil
}

func askTime(ctx context.Context, h host.Host, name string) (ntpServer, error) {
	s := ntpServer{Name: name}
	a, err := h.SNTP(ctx, name)
	switch {
	case err != nil && notAsked(err):
		return s, err
	case err != nil:
		s.Why = probes.Some(reason(err))
		return s, nil
	}
	s.RTT, s.Stratum = probes.Some(a.RTT), probes.Some(a.Stratum)
	if a.Stratum <= 0 || a.Stratum >= unsynchronous {
		s.Why = probes.Some("it is not synchronised itself")
		return s, nil
	}
	s.Offset = probes.Some(a.Offset)
	return s, nil
}

// ntpServers lists the configured servers, the first three, of whichever program is configured.
func ntpServers(h host.Host) ([]string, error) {
	var names []string
	for _, read := range []func(host.Host) ([]string, error){chronyServers, timesyncdServers, ntpdServers} {
		more, err := read(h)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	if len(names) == 0 {
		alibaba, err := onAlibaba(h)
		if err != nil {
			return nil, err
		}
		if alibaba {
			names = []string{alibabaNTP}
		}
	}
	var unique []string
	for _, n := range names {
		if len(unique) < maxNTPServers && !slices.Contains(unique, n) {
			unique = append(unique, n)
		}
	}
	return unique, nil
}

// chronyServers reads chrony.conf(5): server, pool and peer lines, also of the directories that it names.
func chronyServers(h host.Host) ([]string, error) {
	var names []string
	for _, file := range []string{"/etc/chrony/chrony.conf", "/etc/chrony.conf"} {
		text, err := readIfThere(h, file)
		if err != nil {
			return nil, err
		}
		names = append(names, serversIn(text, "server", "pool", "peer")...)
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "confdir" && words[0] != "sourcedir" {
				continue
			}
			for _, dir := range words[1:] {
				suffix := map[string]string{"confdir": ".conf", "sourcedir": ".sources"}[words[0]]
				more, err := serversInDir(h, dir, suffix)
				if err != nil {
					return nil, err
				}
				names = append(names, more...)
			}
		}
	}
	return names, nil
}

func serversInDir(h host.Host, dir, suffix string) ([]string, error) {
	entries, err := h.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, suffix) {
			continue
		}
		text, err := readIfThere(h, path.Join(dir, e.Name))
		if err != nil {
			return nil, err
		}
		names = append(names, serversIn(text, "server", "pool", "peer")...)
	}
	return names, nil
}

func ntpdServers(h host.Host) ([]string, error) {
	var names []string
	for _, file := range []string{"/etc/ntp.conf", "/etc/ntpsec/ntp.conf"} {
		text, err := readIfThere(h, file)
		if err != nil {
			return nil, err
		}
		for _, name := range serversIn(text, "server", "pool", "peer") {
			if !strings.HasPrefix(name, "127.127.") { // a clock of its own, not a server
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// serversIn reads lines like `server NAME options…`.
func serversIn(text string, keywords ...string) []string {
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) >= 2 && slices.Contains(keywords, words[0]) {
			names = append(names, words[1])
		}
	}
	return names
}

// timesyncdServers reads NTP= of timesyncd.conf(5); the fallback that is compiled in cannot be read.
func timesyncdServers(h host.Host) ([]string, error) {
	text, err := readIfThere(h, "/etc/systemd/timesyncd.conf")
	if err != nil {
		return nil, err
	}
	entries, err := h.ReadDir("/etc/systemd/timesyncd.conf.d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		more, err := readIfThere(h, path.Join("/etc/systemd/timesyncd.conf.d", e.Name))
		if err != nil {
			return nil, err
		}
		text += "\n" + more
	}
	var names []string
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || key != "NTP" && key != "FallbackNTP" {
			continue
		}
		names = append(names, strings.Fields(value)...)
	}
	return names, nil
}

func readIfThere(h host.Host, file string) (string, error) {
	b, err := h.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading a time server's name: %w", err)
	}
	return string(b), nil
}
