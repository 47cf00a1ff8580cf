package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/probes/linux"
	"github.com/hostmend/hostmend/probes/network"
	actions "github.com/hostmend/hostmend/remediate/linux"
	"github.com/hostmend/hostmend/report"
)

// hostProbes are the built-in probes that ask a host.
func hostProbes() []probes.Probe[host.Host] {
	return slices.Concat(linux.Probes(), network.Probes())
}

// local is the machine to look at.
func (p *program) local(offline bool) host.Host {
	if p.Host != nil {
		return p.Host
	}
	return &host.Local{Offline: offline, Secrets: p.checks.Secrets()}
}

// look runs the probes whose facts are wanted. Whatever h answers goes through redaction first: no probe, and so no fact, report or
// capture, holds a secret that redaction knows.
func (p *program) look(ctx context.Context, h host.Host, want probes.Want) *probes.Snapshot {
	h = host.Redacted(h)
	progress, done := p.progress()
	defer done()
	r := &probes.Runner[host.Host]{Source: h, Probes: p.hostProbes(), Can: needs(h.Can()), Clock: h, Progress: progress}
	s := r.Run(ctx, want)
	s.Host = hostName(h)
	for _, o := range s.Observations {
		p.log.Debug("probe", zap.String("name", o.Probe), zap.Stringer("status", o.Status), zap.Duration("took", o.Took), zap.String("reason", o.Reason))
	}
	return s
}

// examine is the whole road from a host to a report: look, judge, tell.
func (p *program) examine(ctx context.Context, h host.Host, library *playbooks.Library, j *judging) (*report.Report, error) {
	states, choice, err := j.profiles()
	if err != nil {
		return nil, err
	}
	if choice.Profile != nil {
		library = choice.Profile.Of(library)
	}
	want := library.Needs()
	states.Needs(want)
	if j.changes > 0 {
		library.NeedsChanges(want)
	}
	s := p.look(ctx, h, want)
	if err := ctx.Err(); err == context.Canceled {
		return nil, err
	}
	d := library.Match(s, nil)
	if len(states) > 0 {
		choice = states.Choose(s)
	}
	if choice.Profile != nil {
		choice.Profile.Apply(&d)
	}
	r := report.New(s, &d, actions.Actions(), h.Can().Root)
	r.Beside(library.Changes(s), j.changes)
	r.Profile, err = profileOf(choice, library)
	return r, err
}

// profileOf is a choice for a report; the lists of names are only read where it comes to nothing.
func profileOf(c playbooks.Choice, library *playbooks.Library) (*report.Profile, error) {
	if c.Profile == nil {
		return nil, nil
	}
	if len(library.Playbooks()) > 0 {
		return report.NewProfile(c), nil
	}
	covers, err := builtinCovers()
	if err != nil {
		return nil, err
	}
	return report.NewProfile(c).Unseen(c.Profile.Unseen(covers)), nil
}

func needs(can host.Capabilities) probes.Needs {
	var n probes.Needs
	if can.Root {
		n |= probes.Root
	}
	if can.Network {
		n |= probes.Network
	}
	return n
}

// hostName is the machine's own name for itself; empty if it does not tell.
func hostName(h host.Host) string {
	b, err := h.ReadFile("/proc/sys/kernel/hostname")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// progress shows on a terminal how far the probes are, in one line that done removes.
func (p *program) progress() (tell func(done, all int), done func()) {
	if _, ok := terminal(p.Stderr); !ok || p.verbose {
		return nil, func() {}
	}
	var last time.Time
	tell = func(n, all int) {
		if now := time.Now(); now.Sub(last) > 50*time.Millisecond || n == all {
			last = now
			fmt.Fprintf(p.Stderr, "\r\x1b[Klooking: %d of %d probes", n, all)
		}
	}
	return tell, func() { fmt.Fprint(p.Stderr, "\r\x1b[K") }
}
