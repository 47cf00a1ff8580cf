package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes/network"
	"github.com/hostmend/hostmend/report"
)

// latencyOptions are the flags of `hostmend latency`.
type latencyOptions struct {
	targets  []string
	interval time.Duration
	count    int
	duration time.Duration
	watch    bool
	output   string
}

// maxTargets is how many addresses one sweep pings: a round of them takes a second of one core.
const maxTargets = 65536

func latencyCommand(p *program) *cobra.Command {
	o := &latencyOptions{}
	c := &cobra.Command{
		Use:   "latency",
		Short: "Ping many targets and show how long they take, over time",
		Long: `latency pings all targets once an interval from one socket and keeps, for each of them, how many answers took how long and when.
Without --targets it pings the default gateways and the name servers. It needs root, or a group within net.ipv4.ping_group_range.

Of the formats of diagnose it has all but markdown, for the picture of latency over time is no table; -o brief is a line for each target.`,
		Example: `  hostmend latency --targets 10.0.0.1,10.0.0.2 --watch
  hostmend latency --targets 10.0.0.0/24 --interval 200ms --duration 1m -o html > latency.html`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.latency(c.Context(), o) },
	}
	c.Flags().StringSliceVar(&o.targets, "targets", nil, "addresses, names or networks (10.0.0.0/24), separated by commas")
	c.Flags().DurationVar(&o.interval, "interval", time.Second, "time from one round to the next")
	c.Flags().IntVar(&o.count, "count", 0, "rounds (default 10, or without end with --watch)")
	c.Flags().DurationVar(&o.duration, "duration", 0, "for how long, instead of --count")
	c.Flags().BoolVar(&o.watch, "watch", false, "show every round as it comes: a picture in the terminal, or with -o json a line for each round")
	outputFlag(c, &o.output, report.LatencyFormats...)
	c.MarkFlagsMutuallyExclusive("count", "duration")
	return c
}

func (p *program) latency(ctx context.Context, o *latencyOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	local := &host.Local{}
	targets, addrs, err := latencyTargets(ctx, local, o.targets)
	if err != nil {
		return err
	}
	sweep, err := local.NewSweep(addrs)
	if err != nil {
		return err
	}
	defer sweep.Close()
	seen := report.NewLatency(time.Now(), o.interval, targets)
	err = p.rounds(ctx, o, sweep, seen)
	if errors.Is(err, context.Canceled) && seen.Rounds > 0 {
		err = nil // whoever stops it wants to see what there is
	}
	if err != nil || o.watch {
		return err
	}
	return seen.Write(p.Stdout, o.output, p.page())
}

func (o *latencyOptions) check() error {
	const least = 10 * time.Millisecond
	switch {
	case o.interval < least:
		return fmt.Errorf("--interval %s: at least %s", o.interval, least)
	case o.count < 0 || o.duration < 0:
		return errors.New("--count and --duration are not negative")
	case o.watch && o.output != "text" && o.output != "json":
		return errors.New("--watch goes with -o text and -o json: the other formats are written once, at the end")
	}
	if o.duration > 0 {
		o.count = int(max(1, o.duration/o.interval))
	}
	if o.count == 0 && !o.watch {
		o.count = 10
	}
	return nil
}

// rounds pings until it has done so often enough, or ctx ends.
func (p *program) rounds(ctx context.Context, o *latencyOptions, sweep *host.Sweep, seen *report.Latency) error {
	screen := newScreen(p, o)
	defer screen.close()
	const longest = 2 * time.Second // what takes longer is lost to whoever waits for it
	tick := time.NewTicker(o.interval)
	defer tick.Stop()
	for n := 1; ; n++ {
		at := time.Now()
		echoes, err := sweep.Round(ctx, min(o.interval, longest))
		if err != nil {
			return err
		}
		seen.Add(at, func(i int) report.LatencyEcho {
			e := report.LatencyEcho{RTT: echoes[i].RTT, Answered: echoes[i].Answered}
			if echoes[i].Errno != 0 {
				e.Error = sendError(echoes[i].Errno)
			}
			return e
		})
		if err := screen.show(at, seen, echoes); err != nil {
			return err
		}
		if n == o.count {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sendError(errno syscall.Errno) string {
	if errno == syscall.EPERM {
		return "not sent: a firewall rule of this host drops it"
	}
	return "not sent: " + errno.Error()
}

// screen shows rounds as they come, with --watch.
type screen struct {
	*program
	*latencyOptions
	drawn bool
}

func newScreen(p *program, o *latencyOptions) *screen { return &screen{program: p, latencyOptions: o} }

func (s *screen) show(at time.Time, seen *report.Latency, echoes []host.Echo) error {
	if !s.watch {
		return nil
	}
	if s.output == "json" {
		return s.line(at, seen, echoes)
	}
	var b strings.Builder
	if _, ok := terminal(s.Stdout); ok {
		if !s.drawn {
			b.WriteString("\x1b[?1049h\x1b[?25l") // the alternate screen, without a cursor
			s.drawn = true
		}
		b.WriteString("\x1b[H\x1b[J")
	} else if seen.Rounds > 1 {
		b.WriteString("\n")
	}
	if err := seen.Write(&b, "text", s.page()); err != nil {
		return err
	}
	_, err := fmt.Fprint(s.Stdout, b.String())
	return err
}

// line is a round as one line of JSON: milliseconds by target, null for what was lost.
func (s *screen) line(at time.Time, seen *report.Latency, echoes []host.Echo) error {
	rtt := make(map[string]*float64, len(echoes))
	for i, e := range echoes {
		rtt[seen.Targets[i].Name] = nil
		if e.Answered {
			ms := float64(e.RTT.Microseconds()) / 1000
			rtt[seen.Targets[i].Name] = &ms
		}
	}
	line, err := json.Marshal(map[string]any{"at": at.UTC(), "rtt_ms": rtt})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.Stdout, string(line))
	return err
}

func (s *screen) close() {
	if s.drawn {
		fmt.Fprint(s.Stdout, "\x1b[?25h\x1b[?1049l")
	}
}

// latencyTargets finds the addresses to ping.
func latencyTargets(ctx context.Context, local *host.Local, names []string) ([]report.LatencyTarget, []netip.Addr, error) {
	var targets []report.LatencyTarget
	var addrs []netip.Addr
	add := func(name, role string, a netip.Addr) {
		if !slices.Contains(addrs, a) || len(addrs) > 1000 { // networks do not overlap by accident
			targets, addrs = append(targets, report.LatencyTarget{Name: name, Address: a.String(), Role: role}), append(addrs, a)
		}
	}
	if len(names) == 0 {
		own, err := network.Targets(ctx, local)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range own {
			add(t.Addr.String(), t.Role, t.Addr)
		}
		if len(own) == 0 {
			return nil, nil, errors.New("this host has no gateway and no name server: say --targets")
		}
	}
	for _, name := range names {
		name = strings.TrimSpace(name)
		if prefix, err := netip.ParsePrefix(name); err == nil {
			if err := eachHost(prefix, func(a netip.Addr) { add(a.String(), "", a) }); err != nil {
				return nil, nil, err
			}
			continue
		}
		found, err := local.Lookup(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		add(name, "", found[0])
	}
	if len(addrs) > maxTargets {
		return nil, nil, fmt.Errorf("%d targets are more than %d", len(addrs), maxTargets)
	}
	return targets, addrs, nil
}

// eachHost calls f for the addresses of a network but, with IPv4, its own and the broadcast address.
func eachHost(p netip.Prefix, f func(netip.Addr)) error {
	p = p.Masked()
	if bits := p.Addr().BitLen() - p.Bits(); bits > 16 {
		return fmt.Errorf("--targets %s: at most %d addresses", p, maxTargets)
	}
	whole := p.Addr().Is6() || p.Bits() >= 31
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		if whole || a != p.Addr() && p.Contains(a.Next()) {
			f(a)
		}
	}
	return nil
}
