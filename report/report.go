// Package report says what a diagnosis found: one model, which is also the JSON that programs read, and renderers that make
// pages for people of it. It changes no judgement, and lets no text from the host act on the reader's terminal or browser.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// Schema names the form of the JSON; docs/schema/diagnosis.v1.schema.json describes it.
const Schema = "hostmend.diagnosis/v1"

// Report is a diagnosis as programs read it. Texts are English here; Texts holds the translations.
type Report struct {
	Schema   string    `json:"schema"`
	Host     string    `json:"host"`
	At       time.Time `json:"at"`
	TookMS   int64     `json:"took_ms"`
	Root     bool      `json:"root"` // it was looked at with root's permissions
	Profile  *Profile  `json:"profile,omitempty"`
	Judged   int       `json:"judged"`   // checks that came to a verdict, yes or no; with none of them nothing is known of the host
	Findings []Finding `json:"findings"` // most important first
	Pending  []Finding `json:"pending"`  // matched, but not yet for long enough
	Unknown  []Unknown `json:"unknown"`
	Checks   []Check   `json:"checks"`
	Probes   []Probe   `json:"probes"`
}

// Profile is what the host was asked, and why just that.
type Profile struct {
	Name  string           `json:"name"`
	Title string           `json:"title"`
	Why   string           `json:"why,omitempty"`  // the host's state; empty where somebody asked for the profile
	Note  string           `json:"note,omitempty"` // what of it cannot be seen from inside a host, where that is all of it
	Texts map[string]Texts `json:"texts,omitempty"`
}

// NewProfile is a choice for a report.
func NewProfile(c playbooks.Choice) *Profile {
	return &Profile{
		Name: c.Profile.Name, Title: c.Profile.Title.EN, Why: c.Why.EN, Texts: translated(Texts{Title: c.Profile.Title.ZH, Why: c.Why.ZH}),
	}
}

// Unseen adds that nothing of the profile can be seen from inside a host, and why.
func (p *Profile) Unseen(names []playbooks.Cover) *Profile {
	p.Note = "nothing that " + p.Name + " asks for can be seen from inside a host"
	var reasons []string
	for _, u := range names {
		if !slices.Contains(reasons, u.Not) {
			reasons = append(reasons, u.Not)
		}
	}
	if len(reasons) > 0 {
		p.Note += ": " + strings.Join(reasons, "; ")
	}
	zh := p.Texts["zh"]
	zh.Note = p.Name + " 所查内容在主机内部均不可见"
	p.Texts = translated(zh)
	return p
}

// words is the profile in one sentence.
func (p *Profile) words(t *vocabulary) (sentence, note string) {
	title, why, note := p.Title, p.Why, p.Note
	if zh, ok := p.Texts[t.lang]; ok {
		title, why, note = cmp.Or(zh.Title, title), cmp.Or(zh.Why, why), cmp.Or(zh.Note, note)
	}
	sentence = fmt.Sprintf(t.profile, p.Name, title)
	if why != "" {
		sentence += t.comma + why
	}
	return sentence, note
}

// Finding is a trouble that was found.
type Finding struct {
	Playbook    string           `json:"playbook"`
	Digest      string           `json:"digest"`
	Object      string           `json:"object"` // the element it is about; empty: the host
	Area        string           `json:"area"`
	Title       string           `json:"title"`
	Means       string           `json:"means,omitempty"` // what the trouble is and what users feel of it
	Severity    string           `json:"severity"`
	Since       time.Time        `json:"since"`
	For         string           `json:"for,omitempty"`   // pending: how long it must hold
	Waits       string           `json:"waits,omitempty"` // pending: what it waits for, where it is not time
	Covers      []string         `json:"covers"`
	Summary     []string         `json:"summary"`  // the evidence in the playbook's words
	Evidence    []Clause         `json:"evidence"` // the condition, clause by clause
	Explains    []string         `json:"explains"`
	ExplainedBy []string         `json:"explained_by"`
	Fix         *Fix             `json:"fix,omitempty"`
	Withheld    []string         `json:"withheld,omitempty"` // steps left out because something about them is not known
	Manual      string           `json:"manual,omitempty"`   // what a person has to do, where there is no fix
	Confirm     string           `json:"confirm,omitempty"`  // what would settle it, where it is not sure
	Changes     []Change         `json:"changes,omitempty"`  // what was changed in the time before it
	See         []string         `json:"see"`
	Texts       map[string]Texts `json:"texts,omitempty"` // by language
}

// Texts are a finding's or a check's words in another language than English.
type Texts struct {
	Title   string   `json:"title,omitempty"`
	Means   string   `json:"means,omitempty"`
	Summary []string `json:"summary,omitempty"`
	Manual  string   `json:"manual,omitempty"`
	Confirm string   `json:"confirm,omitempty"`
	Reading string   `json:"reading,omitempty"`
	Waits   string   `json:"waits,omitempty"`
	Why     string   `json:"why,omitempty"`
	Note    string   `json:"note,omitempty"`
}

// Clause is a part of a condition.
type Clause struct {
	Clause  string `json:"clause"`
	Verdict string `json:"verdict"`
	Facts   Facts  `json:"facts"`
	Why     string `json:"why,omitempty"` // unknown: what is missing
}

// Fix is what would mend a trouble.
type Fix struct {
	Risk  string `json:"risk"`
	Steps []Step `json:"steps"`
}

// Step is one action with its arguments.
type Step struct {
	Do     string   `json:"do"`
	Title  string   `json:"title,omitempty"` // what the action does
	With   Facts    `json:"with"`
	Risk   string   `json:"risk"`
	Undo   bool     `json:"undo"`
	Writes []string `json:"writes"`
}

// Unknown is what could not be decided.
type Unknown struct {
	Playbook string   `json:"playbook"`
	Object   string   `json:"object"`
	Area     string   `json:"area"`
	Title    string   `json:"title"`
	Missing  []string `json:"missing"`
	Reason   string   `json:"reason"`
	// NotHere: the host does not have what this is about, so that nothing was left unchecked.
	NotHere bool `json:"not_here"`
}

// Check is how a playbook was judged, over all its objects.
type Check struct {
	Area     string           `json:"area"`
	Playbook string           `json:"playbook"`
	Verdict  string           `json:"verdict"`
	Title    string           `json:"title"`
	NotHere  bool             `json:"not_here,omitempty"`
	More     int              `json:"more,omitempty"`    // findings beyond those that are listed
	Objects  int              `json:"objects,omitempty"` // elements that were judged, where it judges elements
	Reading  string           `json:"reading,omitempty"` // no: the value that was seen
	Reason   string           `json:"reason,omitempty"`  // unknown: why
	Texts    map[string]Texts `json:"texts,omitempty"`
}

// Probe is how a probe's run ended.
type Probe struct {
	Name   string  `json:"name"`
	TookMS float64 `json:"took_ms"`
	Status string  `json:"status"`
	Reason string  `json:"reason,omitempty"`
}

// New makes a report of a snapshot and what the playbooks made of it. The actions lend their titles to the steps; root says whether
// the probes had root's permissions.
func New(s *probes.Snapshot, d *playbooks.Diagnosis, actions []playbooks.Action, root bool) *Report {
	r := &Report{
		Schema: Schema, Host: s.Host, At: s.At.UTC(), TookMS: s.Took.Milliseconds(), Root: root,
		Findings: findings(d.Findings, actions), Pending: findings(d.Pending, actions),
		Unknown: make([]Unknown, len(d.Unknown)), Checks: make([]Check, len(d.Checks)), Probes: make([]Probe, len(s.Observations)),
	}
	for i, u := range d.Unknown {
		r.Unknown[i] = Unknown{
			Playbook: u.Playbook, Object: u.Object, Area: u.Area, Title: u.Title.EN, Missing: list(u.Missing), Reason: u.Reason, NotHere: u.NotHere,
		}
	}
	for i, c := range d.Checks {
		r.Checks[i] = Check{
			Area: c.Area, Playbook: c.Playbook, Verdict: c.Verdict.String(), Title: c.Title.EN, NotHere: c.NotHere, Objects: c.Objects, More: c.More,
			Reading: c.Reading.EN, Reason: c.Reason, Texts: translated(Texts{Title: c.Title.ZH, Reading: c.Reading.ZH}),
		}
		if c.Verdict != playbooks.Unknown {
			r.Judged++
		}
	}
	for i, o := range s.Observations {
		r.Probes[i] = Probe{Name: o.Probe, TookMS: milliseconds(o.Took), Status: o.Status.String(), Reason: firstLine(o.Reason)}
	}
	return r
}

func findings(all []playbooks.Finding, actions []playbooks.Action) []Finding {
	out := make([]Finding, len(all))
	for i, f := range all {
		out[i] = finding(&f, actions)
	}
	return out
}

func finding(f *playbooks.Finding, actions []playbooks.Action) Finding {
	out := Finding{
		Playbook: f.Playbook, Digest: f.Digest, Object: f.Object, Area: f.Area, Title: f.Title.EN, Means: f.Means.EN, Severity: f.Severity.String(),
		Since: f.Since.UTC(), Covers: list(f.Covers), Summary: []string{}, Evidence: make([]Clause, len(f.Clauses)), Explains: list(f.Explains),
		ExplainedBy: list(f.ExplainedBy), Manual: f.Manual.EN, Confirm: f.Confirm.EN, Waits: f.Waits.EN, Withheld: f.Withheld,
		See: list(f.See),
	}
	if f.For > 0 {
		out.For = f.For.String()
	}
	zh := Texts{Title: f.Title.ZH, Means: f.Means.ZH, Manual: f.Manual.ZH, Confirm: f.Confirm.ZH, Waits: f.Waits.ZH}
	for _, e := range f.Evidence {
		out.Summary = append(out.Summary, e.EN)
		zh.Summary = append(zh.Summary, e.In("zh"))
	}
	if slices.Equal(zh.Summary, out.Summary) && zh.Title+zh.Means+zh.Manual+zh.Confirm+zh.Waits == "" {
		zh.Summary = nil
	}
	out.Texts = translated(zh)
	for i, c := range f.Clauses {
		out.Evidence[i] = Clause{Clause: c.Text, Verdict: c.Verdict.String(), Facts: clauseFacts(c.Facts), Why: c.Why}
	}
	if len(f.Steps) > 0 {
		out.Fix = &Fix{Risk: f.Risk.String()}
		for _, s := range f.Steps {
			out.Fix.Steps = append(out.Fix.Steps, step(s, actions))
		}
	}
	return out
}

func step(s playbooks.Step, actions []playbooks.Action) Step {
	out := Step{Do: s.Action, Risk: s.Risk.String(), Undo: s.Undo, Writes: list(s.Writes), With: Facts{}}
	if i := slices.IndexFunc(actions, func(a playbooks.Action) bool { return a.Name == s.Action }); i >= 0 {
		out.Title, _, _ = strings.Cut(actions[i].Doc, "\n")
	}
	for _, a := range s.Args {
		out.With = append(out.With, newFact(a.Name, &a.Value, a.Type, ""))
	}
	return out
}

// translated is the map of one translation, or nil if there is none.
func translated(zh Texts) map[string]Texts {
	if zh.Title+zh.Means+zh.Manual+zh.Confirm+zh.Waits+zh.Reading+zh.Why+zh.Note == "" && len(zh.Summary) == 0 {
		return nil
	}
	return map[string]Texts{"zh": zh}
}

// list makes an empty list of nil: JSON's readers loop over it.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// firstLine leaves out what follows, the stack of a probe that panicked for example.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// Facts are facts with their values, in the order in which they were read.
type Facts []Fact

// Fact is a fact as it was seen.
type Fact struct {
	Path  string
	JSON  json.RawMessage
	Words string // the value for a person, with its unit
}

func newFact(path string, v *probes.Value, t *probes.Type, unit string) Fact {
	return Fact{Path: path, JSON: t.AppendJSON(nil, v), Words: Words(v, t, unit)}
}

func clauseFacts(read []playbooks.Fact) Facts {
	out := Facts{}
	for _, f := range read {
		if !slices.ContainsFunc(out, func(have Fact) bool { return have.Path == f.Path }) {
			out = append(out, newFact(f.Path, &f.Value, f.Type, f.Unit))
		}
	}
	return out
}

// MarshalJSON writes an object, path by path.
func (f Facts) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, fact := range f {
		if i > 0 {
			b = append(b, ',')
		}
		path, err := json.Marshal(fact.Path)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, path...), ':'), fact.JSON...)
	}
	return append(b, '}'), nil
}

// severities, least first.
var severities = []string{"info", "warning", "critical"}

// AtLeast counts the findings of a severity or worse; what another finding explains counts too.
func (r *Report) AtLeast(severity playbooks.Severity) int {
	n := 0
	for _, f := range r.Findings {
		if slices.Index(severities, f.Severity) >= slices.Index(severities, severity.String()) {
			n++
		}
	}
	return n
}

// Unchecked lists the playbooks of which something could not be decided, in order and each once. A playbook about what this host
// does not have is not among them.
func (r *Report) Unchecked() []string {
	var names []string
	for _, u := range r.Unknown {
		if !u.NotHere && !slices.Contains(names, u.Playbook) {
			names = append(names, u.Playbook)
		}
	}
	return names
}

// roots are the findings that no other explains; each of the others is shown under the first that explains it.
func (r *Report) roots() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return r.cause(f) != "" })
}

// cause is the finding of this report that explains f, or "".
func (r *Report) cause(f Finding) string {
	for _, by := range f.ExplainedBy {
		if slices.ContainsFunc(r.Findings, func(g Finding) bool { return g.name() == by || g.Playbook == by }) {
			return by
		}
	}
	return ""
}

// consequences are the findings that are shown under f: what it explains, and what that explains in turn.
func (r *Report) consequences(f Finding) []Finding {
	var out []Finding
	for _, g := range r.Findings {
		if g.name() != f.name() && r.root(g) == f.name() {
			out = append(out, g)
		}
	}
	return out
}

// root is the name of the finding at the end of the chain of causes of f.
func (r *Report) root(f Finding) string {
	for range r.Findings { // a chain is no longer, also where playbooks of others explain one another
		by := r.cause(f)
		i := slices.IndexFunc(r.Findings, func(g Finding) bool { return g.name() == by || g.Playbook == by })
		if by == "" || i < 0 {
			break
		}
		f = r.Findings[i]
	}
	return f.name()
}

// name is the finding's id on this host: PLAYBOOK or PLAYBOOK/OBJECT.
func (f Finding) name() string { return name(f.Playbook, f.Object) }

func name(playbook, object string) string {
	if object == "" {
		return playbook
	}
	return playbook + "/" + object
}

// reasons groups what could not be checked by its reason, the most frequent first. What only root may see is one group.
func (r *Report) reasons(t *vocabulary) []reason {
	var out []reason
	for _, u := range r.Unknown {
		if u.NotHere {
			continue
		}
		why := u.Reason
		if !r.Root && rootOnly.MatchString(why) {
			why = t.needsRoot
		}
		why = t.reason(why)
		i := slices.IndexFunc(out, func(g reason) bool { return g.Why == why })
		if i < 0 {
			i, out = len(out), append(out, reason{Why: why})
		}
		out[i].What = append(out[i].What, name(u.Playbook, u.Object))
	}
	slices.SortStableFunc(out, func(a, b reason) int { return cmp.Compare(len(b.What), len(a.What)) })
	return out
}

// rootOnly matches what those who are not root are told: probes that were skipped, EACCES and EPERM.
var rootOnly = regexp.MustCompile(`needs root|permission denied|operation not permitted`)

type reason struct {
	Why  string
	What []string
}
