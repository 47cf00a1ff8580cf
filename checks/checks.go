// Package checks is what operators declare for their own hosts: files of questions (http, tcp, dns, file, unit, certificate, command,
// prometheus) of which it makes probes. Their facts are site.NAME in playbooks, like any others.
//
//	set, err := checks.Load(files)      // err: playbooks.Problems, all at once
//	list := set.Probes()
//
// [Reference] is the format's page, [Schema] its JSON Schema; both are made of the table that the loader uses.
package checks

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// Set is a set of checks.
type Set struct{ checks []check }

// check is one declared question.
type check struct {
	name    string
	doc     string
	kind    *kind
	every   time.Duration
	timeout time.Duration
	ask     host.Check // name, limits and pattern too
	dns     dnsCheck
	unit    string
	values  []value

	at playbooks.Node
}

type dnsCheck struct{ name, recordType, server string }

// The bounds of what a check may cost.
const (
	maxFiles       = 100
	maxChecks      = 200
	minEvery       = 10 * time.Second
	maxEvery       = 24 * time.Hour
	defaultEvery   = time.Minute
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = 30 * time.Second
	defaultTimeout = 5 * time.Second
	minLimit       = 1 << 10
	maxLimit       = 4 << 20
	defaultLimit   = 64 << 10
	maxPattern     = 1000 // bytes of a regular expression
	maxValues      = 50
)

// grace is what the runner waits beyond a check's own limit, so that the check says itself that nobody answered.
const grace = 500 * time.Millisecond

// Load reads files of checks. The error is [playbooks.Problems], all of them; the set holds the checks of files without any.
func Load(files []playbooks.File) (*Set, error) {
	set := &Set{}
	var problems playbooks.Problems
	where := map[string]string{}
	if len(files) > maxFiles {
		return set, playbooks.Problems{{File: files[maxFiles].Name, Text: "there are more than 100 files of checks"}}
	}
	for _, f := range files {
		doc := playbooks.ReadDocument(f)
		list := read(doc)
		for _, c := range list {
			if other := where[c.name]; other != "" && other != f.Name {
				c.at.Errorf("the check %q is already in %s", c.name, other)
			}
			where[c.name] = f.Name
		}
		if p := doc.Problems(); len(p) > 0 {
			problems = append(problems, p...)
			continue
		}
		set.checks = append(set.checks, list...)
	}
	if len(set.checks) > maxChecks {
		problems = append(problems, playbooks.Problem{File: files[0].Name, Text: "there are more than 200 checks in all"})
	}
	slices.SortFunc(set.checks, func(a, b check) int { return cmp.Compare(a.name, b.name) })
	if len(problems) > 0 {
		return set, problems
	}
	return set, nil
}

// Len is how many checks there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.checks)
}

// Probes are the checks as probes, by name. A nil Set has none.
func (s *Set) Probes() []probes.Probe[host.Host] {
	if s == nil {
		return nil
	}
	list := make([]probes.Probe[host.Host], len(s.checks))
	for i := range s.checks {
		list[i] = s.checks[i].kind.probe(&s.checks[i])
	}
	return list
}

// Secrets are the names of the secrets that checks refer to.
func (s *Set) Secrets() []string {
	if s == nil {
		return nil
	}
	var names []string
	for _, c := range s.checks {
		for _, h := range c.headers() {
			if h.Secret != "" {
				names = append(names, h.Secret)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *check) headers() map[string]host.Header {
	switch {
	case c.ask.HTTP != nil:
		return c.ask.HTTP.Header
	case c.ask.Prometheus != nil:
		return c.ask.Prometheus.Header
	}
	return nil
}

func matched(c *check, a *host.CheckAnswer) probes.Opt[bool] {
	switch {
	case c.ask.Pattern == "":
		return probes.None[bool]()
	case a.Error != "":
		return probes.Unread[bool](a.Error)
	case a.Count == 0 && a.Cut:
		return probes.Unread[bool](cutShort)
	}
	return probes.Some(a.Count > 0)
}

const cutShort = "the text is longer than what was read of it, its limit"

// trouble is why nobody answered.
func trouble(a *host.CheckAnswer) probes.Opt[string] { return given(a.Error, a.Error != "") }

// answered is a fact that an answer tells, and that is not known without one. Were it absent, a playbook about it would not apply, just
// when the thing is down.
func answered[T any](a *host.CheckAnswer, v T) probes.Opt[T] {
	if a.Error != "" {
		return probes.Unread[T](a.Error)
	}
	return probes.Some(v)
}

// given is a fact that there is, or not.
func given[T any](v T, ok bool) probes.Opt[T] {
	if !ok {
		return probes.None[T]()
	}
	return probes.Some(v)
}

// days is a length of time as people count what expires.
func days(d time.Duration) float64 { return d.Hours() / 24 }

// unusable are errors that say nothing of what was asked for.
func unusable(err error) bool {
	return errors.Is(err, host.ErrNotCaptured) || errors.Is(err, host.ErrOffline)
}

func (c *check) text() string {
	return strings.TrimSuffix(c.doc, ".") + "\n\nA site check, " + c.kind.name + ": " + c.kind.doc
}
