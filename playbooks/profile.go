package playbooks

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/probes"
)

// Profile is a question that a host is asked: some of the playbooks, and which of their findings come first. One that has a state is
// chosen by the state of the host, where nobody asks for another.
type Profile struct {
	Name   string
	Title  Text
	Covers []string // patterns of names, or of playbooks' ids: what is judged; empty: everything
	First  []string // of findings that are equally bad, those that cover one of these come first
	Waits  []string // what cannot be judged in this state: its findings are pending
	When   string   // the state, an expression over facts

	state  operand
	why    [2]template // in words, with values
	waits  Text        // why findings that cover one of Waits are pending
	slots  int
	reads  []string
	schema *schema
}

// Profiles are the profiles that there are, in their order. The first whose state is the host's is chosen, else the one named default.
type Profiles []*Profile

const defaultProfile = "default"

// Choice is which profile a diagnosis was made by, and why.
type Choice struct {
	Profile *Profile
	Why     Text // the state of the host, with values; empty where somebody asked for the profile
}

// LoadProfiles reads profiles, several to a file. The error is [Problems].
func LoadProfiles(files []File, infos []probes.Info) (Profiles, error) {
	s := newSchema(infos, nil)
	var out Profiles
	var problems Problems
	for _, f := range files {
		src := newSource(f)
		if root := parseYAML(src); root != nil {
			list := readKeys(root, nil, "profiles")
			if list == nil || list.kind != mapping {
				root.errorf("the key \"profiles\" is missing: NAME: {title, covers}")
			} else {
				for i, k := range list.keys {
					out = append(out, readProfile(src, s, k, list.items[i]))
				}
			}
		}
		problems = append(problems, src.problems...)
	}
	return out, problems.err()
}

func readProfile(src *source, s *schema, name, n *node) *Profile {
	p := &Profile{Name: name.text, schema: s}
	f := &form{src: src, schema: s, used: map[string]bool{}}
	c := &compiler{texts: map[inText]piece{}, schema: s, file: f, params: map[string]operand{}, lets: map[string]*letState{}, units: map[string]string{}, reads: map[string]bool{}, condition: map[string]bool{}}
	if n.kind != mapping {
		n.errorf("a profile is a mapping, and this is %s", n.kind)
		return p
	}
	for i, k := range n.keys {
		v := n.items[i]
		switch k.text {
		case "title":
			p.Title = f.readPair(v).plain()
		case "covers":
			p.Covers = patterns(f, v)
		case "first":
			p.First = patterns(f, v)
		case "waits":
			p.Waits = patterns(f, v)
		case "because":
			p.waits = f.readPair(v).plain()
		case "when":
			if e := f.readExpression(v); e != nil {
				p.When = strings.TrimSpace(e.text)
				p.state, _ = c.judgement(e)
			}
		case "why":
			p.why = c.both(f.readPair(v))
		default:
			k.errorf("there is no key %q%s", k.text, didYouMean(k.text, []string{"title", "covers", "first", "waits", "because", "when", "why"}))
		}
	}
	if p.Title.EN == "" {
		name.errorf("the profile %s has no title", p.Name)
	}
	p.slots, p.reads = c.slots, sorted(keysOf(c.reads))
	return p
}

// patterns reads names with * in them.
func patterns(f *form, n *node) []string {
	out := texts(f.readNames(n))
	for i, pattern := range out {
		if _, err := path.Match(pattern, ""); err != nil {
			n.items[i].errorf("%q is no pattern: * stands for any part of a name", pattern)
		}
	}
	return out
}

// matches reports whether a playbook's id or one of its covers is meant by one of the patterns.
func matches(patterns []string, id string, covers []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		is := func(name string) bool {
			ok, _ := path.Match(pattern, name)
			return ok
		}
		return is(id) || slices.ContainsFunc(covers, is)
	})
}

// Get is the profile of that name.
func (ps Profiles) Get(name string) (*Profile, error) {
	var names []string
	for _, p := range ps {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("there is no profile %q%s", name, cmp.Or(nearest(name, names), "; `hostmend playbook profiles` lists them"))
}

// Needs adds to want what the profiles' states read.
func (ps Profiles) Needs(want probes.Want) {
	for _, p := range ps {
		addNeeds(want, p.schema, p.reads)
	}
}

// Choose is the profile for the state of the host. A state that is not known is not that of the host.
func (ps Profiles) Choose(snap *probes.Snapshot) Choice {
	for _, p := range ps {
		m := p.machine(snap)
		if p.state.ok() && p.state.b(m) == yes {
			m.refuel()
			return Choice{Profile: p, Why: say(m, p.why, false)}
		}
	}
	if p, err := ps.Get(defaultProfile); err == nil {
		return Choice{Profile: p, Why: say(p.machine(snap), p.why, false)}
	}
	return Choice{}
}

func (p *Profile) machine(snap *probes.Snapshot) *machine {
	l := &Library{schema: p.schema, playbooks: []*playbook{{slots: p.slots}}}
	m := l.machine(snap)
	m.refuel()
	return m
}

// Of are the playbooks that the profile asks for.
func (p *Profile) Of(l *Library) *Library {
	if len(p.Covers) == 0 {
		return l
	}
	some := &Library{schema: l.schema}
	for _, b := range l.playbooks {
		if matches(p.Covers, b.ID, b.Covers) {
			some.playbooks = append(some.playbooks, b)
		}
	}
	some.build()
	return some
}

// Apply puts a diagnosis into the profile's order, and makes pending what cannot be judged in the host's state. It takes nothing away.
func (p *Profile) Apply(d *Diagnosis) {
	keep := d.Findings[:0:0]
	for _, f := range d.Findings {
		if !matches(p.Waits, f.Playbook, f.Covers) {
			keep = append(keep, f)
			continue
		}
		f.Waits, f.Explains, f.ExplainedBy = p.waits, nil, nil
		d.Pending = append(d.Pending, f)
		forget(d.Findings, f.Identity())
	}
	for _, f := range d.Pending { // what was put off since its cause was still listed
		forget(keep, f.Identity())
	}
	d.Findings = keep
	rank := func(f *Finding) int {
		if matches(p.First, f.Playbook, f.Covers) {
			return 0
		}
		return 1
	}
	d.arrange(func(a, b *Finding) int { return cmp.Compare(rank(a), rank(b)) })
}

// Asks are the names, in the lists, that the profile asks for.
func (p *Profile) Asks(covers *Covers) []Cover {
	return slices.DeleteFunc(covers.All(), func(c Cover) bool { return !matches(p.Covers, c.Name, nil) })
}

// Unseen are those of the profile's names of which nothing can be seen from inside a host, with the reason; by the lists of names.
func (p *Profile) Unseen(covers *Covers) []Cover {
	return slices.DeleteFunc(p.Asks(covers), func(c Cover) bool { return c.Not == "" })
}

// forget takes a finding's name out of what others explain and are explained by.
func forget(list []Finding, identity string) {
	is := func(name string) bool { return name == identity }
	for i := range list {
		list[i].Explains = slices.DeleteFunc(slices.Clone(list[i].Explains), is)
		list[i].ExplainedBy = slices.DeleteFunc(slices.Clone(list[i].ExplainedBy), is)
	}
}
