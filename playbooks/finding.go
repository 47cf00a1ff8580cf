package playbooks

import (
	"time"

	"github.com/hostmend/hostmend/probes"
)

// Verdict is three-valued: and, or, not are min, max, minus. Unknown is not No, and never starts a fix.
type Verdict int8

// The verdicts; the zero value is Unknown.
const (
	No      Verdict = -1
	Unknown Verdict = 0
	Yes     Verdict = 1
)

func (v Verdict) String() string { return [...]string{"no", "unknown", "yes"}[v+1] }

// Severity is how bad a trouble is for the host's users.
type Severity uint8

// The severities, least first.
const (
	Info Severity = iota + 1
	Warning
	Critical
)

func (s Severity) String() string { return [...]string{"", "info", "warning", "critical"}[s] }

// Risk is what a step may do to the host. Whether it can be undone is a separate fact.
type Risk uint8

// The one scale of risk.
const (
	Harmless    Risk = iota + 1 // no effect on service
	Reversible                  // changes something, no interruption
	Disruptive                  // a short interruption
	Destructive                 // loses something
)

func (r Risk) String() string {
	return [...]string{"", "harmless", "reversible", "disruptive", "destructive"}[r]
}

// Text is what a person reads, in the languages it was written in, with its {expr} already filled in.
type Text struct {
	EN string `json:"en"`
	ZH string `json:"zh,omitempty"`
}

// In returns the text in lang ("en", "zh"), or English where there is no such translation.
func (t Text) In(lang string) string {
	if lang == "zh" && t.ZH != "" {
		return t.ZH
	}
	return t.EN
}

// Action is what the language must know of an action: lint holds `fix:` steps to it. Package remediate declares them.
type Action struct {
	Name   string // "sysctl.set"
	Doc    string // title line, then what it does
	Args   []Arg
	Risk   Risk
	Undo   bool     // whether it can be taken back
	Writes []string // what it touches, {arg} standing for an argument: "sysctl:{key}", "file:/etc/fstab"
}

// Arg is an argument of an action.
type Arg struct {
	Name     string
	Doc      string
	Kind     probes.Kind // String, Int, Float, Bool, Duration, or List (of strings)
	Required bool
	Enum     []string // String: the values allowed; empty: any
	Pattern  string   // String, and the elements of a List: an RE2 expression that the whole value matches; empty: any
	Min, Max float64  // Int and Float: the bounds, where they differ
}

// Diagnosis is what a library makes of a snapshot.
type Diagnosis struct {
	Findings []Finding    // most important first: causes before what they explain, then severity
	Pending  []Finding    // matched, but not yet for as long as the playbook asks
	Unknown  []Unanswered // what could not be decided
	Checks   []Check      // every playbook that was judged, in the library's order
}

// Finding is a playbook that matched. Its identity is playbook, host and object.
type Finding struct {
	Playbook string
	Digest   string // of the playbook's text and its parameters: "sha256:…"
	Object   string // key of the element it is about; empty without for_each
	Area     string
	Title    Text
	Means    Text // what the trouble is and what users feel; the same on every host
	Severity Severity
	Since    time.Time
	For      time.Duration // Pending: how long it must hold
	Waits    Text          // Pending: what it waits for, where it is not time: that the host has started
	Covers   []string
	Evidence []Text   // the playbook's own words, filled in
	Clauses  []Clause // what decided it, with the values seen
	// Shows are the signs of a symptom, as SIGN or SIGN/OBJECT; a cause shows none.
	Shows []string
	// Explains are the findings of this diagnosis that this one makes irrelevant, as PLAYBOOK or PLAYBOOK/OBJECT; ExplainedBy is the
	// other direction, and empty for a root cause.
	Explains    []string
	ExplainedBy []string
	Risk        Risk
	Steps       []Step   // what would fix it, in order; empty: Manual applies
	Withheld    []string // steps that are left out because something about them is not known, and what
	Stage       string   // how far the fix may go by itself: observe, suggest, approve, auto
	Manual      Text
	Confirm     Text // what would settle it, where it is not sure
	See         []string
}

// Clause is a part of a condition, how it was decided, and what it saw.
type Clause struct {
	Text    string // as written
	Verdict Verdict
	Facts   []Fact // what it read, in the order of reading
	Why     string // Unknown: what is missing
}

// Fact is a fact with the value that was seen.
type Fact struct {
	Path  string // "conntrack.count", `sysctl["net.core.somaxconn"]`, "fs.used_pct"
	Value probes.Value
	Type  *probes.Type
	Unit  string
}

// Step is an action chosen for a finding, its arguments filled in.
type Step struct {
	Action string
	Args   []StepArg
	Risk   Risk
	Undo   bool
	Writes []string // filled in: "sysctl:net.core.somaxconn"
}

// StepArg is an argument of a step.
type StepArg struct {
	Name  string
	Value probes.Value
	Type  *probes.Type
}

// Unanswered is a playbook, or one object of it, that could not be decided.
type Unanswered struct {
	Playbook string
	Object   string
	Area     string
	Title    Text
	Missing  []string // the facts that were missing
	Reason   string   // why, in words
	Clauses  []Clause // those that could not be decided
	// NotHere: everything that is missing is Absent, so the host does not have what this is about (no conntrack, no swap). Such a
	// playbook does not apply; it is not something that was left unchecked.
	NotHere bool
}

// Check is how one playbook was judged, over all its objects.
type Check struct {
	Playbook string
	Area     string
	Title    Text
	Verdict  Verdict
	NotHere  bool   // Unknown because the host does not have what this is about
	Objects  int    // with for_each, how many elements were judged
	More     int    // findings beyond those that are listed
	Reading  Text   // No: the value that was seen, in the playbook's own words
	Reason   string // Unknown: why
}
