package report

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hostmend/hostmend/playbooks"
)

// Change is what was changed on the host before a trouble.
type Change struct {
	What    string    `json:"what"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Action  string    `json:"action"`
	At      time.Time `json:"at"`
	Detail  string    `json:"detail,omitempty"`
	Related bool      `json:"related"` // it names what the finding is about
}

// maxChanges are listed beside a finding: more is no hint any more.
const maxChanges = 5

// Beside lists beside each finding what was changed in the time before it, what the finding names first.
func (r *Report) Beside(changes []playbooks.Change, window time.Duration) {
	for i := range r.Findings {
		f := &r.Findings[i]
		words := f.about()
		for _, c := range changes {
			at := r.At.Add(-c.Age)
			if at.After(f.Since) || at.Before(f.Since.Add(-window)) {
				continue
			}
			f.Changes = append(f.Changes, Change{
				What: c.What, Kind: c.Kind, Name: c.Name, Action: c.Action, At: at.Truncate(time.Second), Detail: c.Detail, Related: f.related(c, words),
			})
		}
		slices.SortStableFunc(f.Changes, func(a, b Change) int {
			if a.Related != b.Related {
				return map[bool]int{true: -1, false: 1}[a.Related]
			}
			return b.At.Compare(a.At)
		})
		f.Changes = f.Changes[:min(len(f.Changes), maxChanges)]
	}
}

// asWith names the finding that pages show before f with the very same changes, or is empty: a list that is repeated beside each finding
// is read beside none.
func (r *Report) asWith(f Finding) string {
	for _, g := range r.Findings {
		if g.name() == f.name() {
			break
		}
		if len(g.ExplainedBy) == 0 && slices.Equal(g.Changes, f.Changes) {
			return g.name()
		}
	}
	return ""
}

// about are the words of a finding that may name what was changed: its object, the texts that it read, and of its evidence what looks
// like a path, a unit or a program, for "host" and "default" are in every sentence.
func (f *Finding) about() map[string]bool {
	words := map[string]bool{}
	add := func(text string, all bool) {
		for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`,;:()"'=`, r) }) {
			if w = strings.Trim(w, "."); all || strings.ContainsAny(w, "/.@") {
				words[w], words[stem(w)] = true, true
			}
		}
	}
	add(f.Object, true)
	for _, s := range f.Summary {
		add(s, false)
	}
	for _, c := range f.Evidence {
		for _, fact := range c.Facts {
			add(fact.Words, !strings.Contains(fact.Words, " "))
		}
	}
	return words
}

// stem is what a unit, a file and a package of one program have in common: nginx of nginx.service, /etc/nginx/nginx.conf and nginx-core.
func stem(name string) string {
	s := strings.ToLower(path.Base(name))
	s, _, _ = strings.Cut(s, "@")
	if i := strings.IndexAny(s, ".-_"); i > 0 {
		s = s[:i]
	}
	return s
}

// shortest is the length from which on a stem says something: "etc" and "run" are in every path.
const shortest = 4

// related reports whether a change names what the finding is about.
func (f *Finding) related(c playbooks.Change, words map[string]bool) bool {
	if words[c.Name] || f.Object != "" && stem(c.Name) == stem(f.Object) {
		return true
	}
	for _, s := range []string{stem(c.Name), stem(path.Dir(c.Name))} {
		if len(s) >= shortest && s != "system" && words[s] {
			return true
		}
	}
	readsSysctl := func(x Clause) bool {
		return slices.ContainsFunc(x.Facts, func(fact Fact) bool { return strings.HasPrefix(fact.Path, "sysctl") })
	}
	switch c.Kind {
	case "sysctl":
		return slices.ContainsFunc(f.Evidence, readsSysctl)
	case "account":
		return f.Area == "access"
	}
	return false
}

// words is a change in a line: what, what was done, and how long before the report.
func (c Change) words(t *vocabulary, now time.Time) string {
	s := fmt.Sprintf(t.ago, duration(now.Sub(c.At).Round(time.Second)), cmp.Or(t.kinds[c.Kind], c.Kind), t.reason(c.Name), cmp.Or(t.actions[c.Action], c.Action))
	if c.Detail != "" {
		s += " (" + t.reason(c.Detail) + ")"
	}
	return s
}
