package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// writeBrief writes one line a finding: SEVERITY PLAYBOOK[/OBJECT] TITLE (evidence). What another finding explains is named in that
// one's line. Without findings it says so in one line, and what was not checked. The title begins at the third field.
func writeBrief(w io.Writer, r *Report, to Page) error {
	var b strings.Builder
	for _, f := range r.roots() {
		t := f.text(to.Lang)
		evidence := strings.Join(t.Summary, "; ")
		if below := r.consequences(f); len(below) > 0 {
			names := make([]string, len(below))
			for i, g := range below {
				names[i] = g.field()
			}
			evidence = strings.TrimPrefix(evidence+"; explains "+strings.Join(names, ", "), "; ")
		}
		b.WriteString(f.Severity + " " + f.field() + " " + t.Title)
		if evidence != "" {
			b.WriteString(" (" + evidence + ")")
		}
		b.WriteByte('\n')
	}
	if len(r.Findings) == 0 {
		b.WriteString(r.nothing() + "\n")
	}
	for _, f := range r.Pending {
		fmt.Fprintf(&b, "pending %s %s (%s)\n", f.field(), f.text(to.Lang).Title, f.mustHold(vocabularyOf(to.Lang)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// nothing is the line of a report without findings.
func (r *Report) nothing() string {
	unchecked := r.Unchecked()
	switch {
	case r.Profile != nil && r.Profile.Note != "":
		return r.Profile.Note
	case len(unchecked) > 0:
		return fmt.Sprintf("nothing found, %d of %d not checked: %s", len(unchecked), len(r.Checks), strings.Join(unchecked, ", "))
	case r.Judged == 0:
		return fmt.Sprintf("nothing found, 0 of %d apply here", len(r.Checks))
	}
	return "healthy: nothing found"
}

// field is the finding's name as one field of a line: an object with a space in it is quoted.
func (f Finding) field() string {
	if strings.ContainsFunc(f.Object, func(r rune) bool { return unicode.IsSpace(r) || r == '"' }) {
		return name(f.Playbook, strconv.Quote(f.Object))
	}
	return f.name()
}
