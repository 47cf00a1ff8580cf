package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// writeHTML writes the report as one file without scripts, and without anything from elsewhere: its policy lets a browser load and run
// nothing but this very style sheet.
func writeHTML(w io.Writer, r *Report, to Page) error {
	t := vocabularyOf(to.Lang)
	page, err := template.New("page").Funcs(template.FuncMap{
		"text":         func(f Finding) Texts { return f.text(to.Lang) },
		"reading":      func(c Check) string { return c.text(to.Lang).Reading },
		"outcome":      func(c Check) string { return c.outcome() },
		"consequences": r.consequences,
		"asWith":       r.asWith,
		"change":       func(c Change) string { return c.words(t, r.At) },
		"step":         func(s Step) string { return s.words(t) },
		"manual":       spans,
		"mustHold":     func(f Finding) string { return f.mustHold(t) },
		"area":         t.area,
		"reason":       t.reason,
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(pageCSS))
	verdict, _ := r.verdict(t)
	profile := ""
	if r.Profile != nil {
		profile, _ = r.Profile.words(t)
	}
	worst := "healthy"
	if r.Judged == 0 {
		worst = "info"
	}
	for _, f := range r.Findings {
		worst = f.Severity
		break
	}
	type area struct {
		Name   string
		Checks []Check
	}
	var byArea []area
	for _, name := range r.areas() {
		byArea = append(byArea, area{name, r.in(name)})
	}
	return page.Execute(w, map[string]any{
		"Lang": map[bool]string{true: "zh-CN", false: "en"}[to.Lang == "zh"], "Report": r, "T": exported(t), "Verdict": verdict, "Looked": r.looked(t), "Profile": profile, "Worst": worst,
		"CSS": template.CSS(pageCSS), "Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		"Roots": r.roots(), "Reasons": r.reasons(t), "Unchecked": fmt.Sprintf(t.unchecked, len(r.Unchecked())), "Areas": byArea,
	})
}

// span is a part of a text; playbooks set commands in backticks.
type span struct {
	Text string
	Code bool
}

func spans(s string) []span {
	parts := strings.Split(s, "`")
	if len(parts)%2 == 0 { // one has no partner
		return []span{{Text: s}}
	}
	out := make([]span, len(parts))
	for i, p := range parts {
		out[i] = span{p, i%2 == 1}
	}
	return out
}

// exported lends the vocabulary to a template, which sees only exported names.
func exported(t *vocabulary) map[string]any {
	return map[string]any{
		"thisHost": t.thisHost, "severity": t.severity, "risk": t.risk, "pending": t.pending, "fix": t.fix, "byHand": t.byHand, "confirm": t.confirm, "changes": t.changes, "asWith": t.asWith, "explains": t.explains,
		"see": t.see, "why": t.why, "clause": t.clause, "verdict": t.verdict, "facts": t.facts, "checks": t.checks, "probes": t.probes, "withheld": t.withheld,
		"verdicts": t.verdicts, "playbook": t.playbook, "reading": t.reading, "took": t.took, "status": t.status,
	}
}
