package report

import (
	"fmt"
	"io"
	"strings"
)

// writeBrief writes one line a finding: SEVERITY PLAYBOOK[/OBJECT] TITLE (evidence). What another finding explains is named in that
// one's line. Without findings it says so in one line, and what was not checked.
func writeBrief(w io.Writer, r *Report, to Page) error {
	var b strings.Builder
	for _, f := range r.roots() {
		t := f.text(to.Lang)
		evidence := strings.Join(t.Summary, "; ")
		if below := r.consequences(f); len(below) > 0 {
			names := make([]string, len(below))
			for i, g := range below {
				names[i] = g.name()
			}
			evidence = strings.TrimPrefix(evidence+"; explains "+strings.Join(names, ", "), "; ")
		}
		b.WriteString(f.Severity + " " + f.name() + " " + t.Title)
		if evidence != "" {
			b.WriteString(" (" + evidence + ")")
		}
		b.WriteByte('\n')
	}
	if len(r.Findings) == 0 {
		b.WriteString(r.nothing() + "\n")
	}
	for _, f := range r.Pending {
		fmt.Fprintf(&b, "pending %s %s (%s)\n", f.name(), f.text(to.Lang).Title, f.mustHold(vocabularyOf(to.Lang)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// nothing is the line of a report without findings.
func (r *Report) nothing() string {
	unchecked := r.Unchecked()
	if len(unchecked) == 0 {
		return "healthy: nothing found"
	}
	return fmt.Sprintf("nothing found, %d of %d not checked: %s", len(unchecked), len(r.Checks), strings.Join(unchecked, ", "))
}
