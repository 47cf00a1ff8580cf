package playbooks

import (
	"math"

	"github.com/hostmend/hostmend/probes"
)

// status says whether an evaluated number, text or list is there. The worse one wins where two meet.
type status uint8

const (
	known status = iota
	absent
	unreadable
)

// truth is a [Verdict] that also knows which kind of Unknown it is: the ?? operator answers absent, never unreadable. The order
// makes `or` a max; absent and unreadable have the numbers of their status.
type truth uint8

const (
	no  truth = 0
	yes truth = 3
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (t truth) verdict() Verdict {
	switch t {
	case yes:
		return Yes
	case no:
		return No
	}
	return Unknown
}

// status is known for yes and no.
func (t truth) status() status {
	if t == yes {
		return known
	}
	return status(t)
}

func and(a, b truth) truth {
	switch {
	case a == no || b == no:
		return no
	case a == yes:
		return b
	case b == yes:
		return a
	}
	return max(a, b)
}

func or(a, b truth) truth { return max(a, b) }

func not(a truth) truth {
	switch a {
	case yes:
		return no
	case no:
		return yes
	}
	return a
}

// What evaluating one playbook against one snapshot may cost. A step is a turn of a list, a use of a `let`, or 64 bytes of text
// that are searched; a million of them take some 10 ms. A thousand elements against a thousand others fit in.
const (
	maxSteps = 1_000_000
	maxBytes = 1 << 20 // of new text
)

// machine is the mutable state of evaluating a compiled playbook: what it looks at and what it may still spend.
type machine struct {
	roots  []*probes.Value // the facts of each probe of the schema
	frames []frame         // where each loop of the playbook stands
	steps  int
	bytes  int
	why    string // why the last computation had no answer
	snap   *probes.Snapshot
	trace  *trace // not nil in the pass that records what is read
}

// frame is a loop's current element.
type frame struct {
	list *probes.Value
	elem *probes.Value
	name string // of a map's key
	at   int
	path string // of the element, while tracing
}

// Reasons of an Unknown that no fact is to blame for.
const (
	whyZero     = "division by zero"
	whyOverflow = "the number is too large"
	whySteps    = "evaluating it takes too many steps"
	whyBytes    = "evaluating it makes too much text"
	whyCut      = "the list was cut short"
	whyNumber   = "the text is not a number"
	whyNotFound = "an earlier element could not be judged"
	whyShape    = "the value has another shape than this version expects"
)

// fail notes why there is no answer.
func (m *machine) fail(why string) status {
	m.why = why
	return unreadable
}

// step spends n steps and reports whether there were that many left.
func (m *machine) step(n int) bool {
	if m.steps -= n; m.steps < 0 {
		m.why = whySteps
		return false
	}
	return true
}

// text spends the bytes of a text that was made.
func (m *machine) text(s string) (string, status) {
	if m.bytes -= len(s); m.bytes < 0 {
		return "", m.fail(whyBytes)
	}
	return s, known
}

func (m *machine) refuel() { m.steps, m.bytes, m.why = maxSteps, maxBytes, "" }

// What a load answers where there is nothing to point at.
var (
	absentValue  = probes.AbsentValue()
	notRun       = probes.UnreadableValue("the probe was not run")
	notRead      = probes.UnreadableValue("") // the observation says why
	wrongShape   = probes.UnreadableValue(whyShape)
	notJudged    = probes.UnreadableValue(whyNotFound)
	unknownIndex = probes.UnreadableValue("the index is not known")
)

// field is field i of a struct that may itself be absent or unreadable.
func field(v *probes.Value, i int) *probes.Value {
	if v.Kind() == probes.Struct {
		if i < v.Len() {
			return v.At(i)
		}
	} else if !v.Known() {
		return v
	}
	return &wrongShape
}

// statusOf tells a value that is missing from one of the wrong kind.
func statusOf(v *probes.Value) status {
	if v.Kind() == probes.Absent {
		return absent
	}
	return unreadable
}

func boolOf(v *probes.Value) truth {
	if v.Kind() == probes.Bool {
		return truthOf(v.Bool())
	}
	return truth(statusOf(v))
}

func intOf(v *probes.Value) (int64, status) {
	if k := v.Kind(); k == probes.Int || k == probes.Duration {
		return v.Int(), known
	}
	return 0, statusOf(v)
}

func floatOf(v *probes.Value) (float64, status) {
	if v.Kind() == probes.Float {
		return finite(v.Float())
	}
	return 0, statusOf(v)
}

func stringOf(v *probes.Value) (string, status) {
	if v.Kind() == probes.String {
		return v.Str(), known
	}
	return "", statusOf(v)
}

// finite refuses NaN and the infinities: they are no measurement. f-f is zero for every other number.
func finite(f float64) (float64, status) {
	if f-f != 0 {
		return 0, unreadable
	}
	return f, known
}

// toInt truncates a number as Go does, where that is defined.
func toInt(f float64) (int64, bool) {
	if f >= -math.MaxInt64 && f < math.MaxInt64 {
		return int64(f), true
	}
	return 0, false
}
