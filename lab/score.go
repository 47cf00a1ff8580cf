package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

// Score is what docs/score.json holds, and docs/score.md for people.
type Score struct {
	Date    string  `json:"date"`
	Commit  string  `json:"commit"`
	Machine string  `json:"machine"`
	Trials  []Trial `json:"trials"`
}

// measured is the score of trials that just ended. Hostmend's answers are left out; `-json` has them.
func measured(ctx context.Context, trials []Trial) Score {
	s := Score{Date: time.Now().UTC().Format(time.DateOnly), Commit: "unknown", Machine: machine()}
	if commit, err := exec.CommandContext(ctx, "git", "describe", "--always").Output(); err == nil {
		s.Commit = strings.TrimSpace(string(commit))
	}
	// What is measured is the commit, unless something else than the score itself was changed since.
	changed, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/docs/score.*").Output()
	if err != nil || len(changed) > 0 {
		s.Commit += "-dirty"
	}
	for _, t := range trials {
		t.Output, t.Commit = "", s.Commit
		s.Trials = append(s.Trials, t)
	}
	return s
}

// machine describes this one in general terms.
func machine() string {
	var name unix.Utsname
	var info unix.Sysinfo_t
	_ = unix.Uname(&name)
	_ = unix.Sysinfo(&info)
	release := strings.SplitN(unix.ByteSliceToString(name.Release[:]), ".", 3)
	memory := float64(info.Totalram) * float64(info.Unit) / (1 << 30)
	return fmt.Sprintf("Linux %s on %s, %d processors, %.0f GiB of memory",
		strings.Join(release[:min(2, len(release))], "."), runtime.GOARCH, runtime.NumCPU(), memory)
}

// readScore reads docs/score.json or its like.
func readScore(file string) (s Score, err error) {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

// write writes the score as file, which ends in .md, and as JSON beside it. Faults that were not tried now keep their rows, as
// long as there is such a fault, and a frozen one keeps for good how its first diagnosis came out, also when it counts as learnt.
func (s Score) write(file string, faults []Fault) error {
	asJSON := strings.TrimSuffix(file, ".md") + ".json"
	old, err := readScore(asJSON)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the last score: %w", err)
	}
	set := 1 // What is frozen now is the set after all that is learnt from.
	for _, t := range old.Trials {
		if slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == Learnt && f.ID == t.Fault }) {
			set = max(set, t.AtFirstSet+1)
		}
	}
	trials := make([]Trial, 0, len(faults))
	for _, f := range faults {
		same := func(t Trial) bool {
			return t.Fault == f.ID && (t.Kind == f.Kind || f.Kind == Learnt && t.Kind == Frozen)
		}
		before, now := slices.IndexFunc(old.Trials, same), slices.IndexFunc(s.Trials, same)
		var t Trial
		switch {
		case f.sealed(): // what it is about must not be read here either
			continue
		case now >= 0:
			t = s.Trials[now]
		case before >= 0:
			t = old.Trials[before]
		default:
			continue
		}
		t.Kind, t.Title = f.Kind, f.Title
		if before >= 0 && old.Trials[before].AtFirst != "" {
			was := old.Trials[before]
			t.AtFirst, t.AtFirstSet, t.AtFirstCommit = was.AtFirst, was.AtFirstSet, was.AtFirstCommit
		} else if t.Kind == Frozen && t.Outcome != Skipped && t.Outcome != Failed {
			t.AtFirst, t.AtFirstSet, t.AtFirstCommit = t.Outcome, set, t.Commit
		}
		trials = append(trials, t)
	}
	s.Trials = trials
	return errors.Join(writeJSON(asJSON, s), os.WriteFile(file, []byte(s.Markdown()), 0o644))
}

// Sum is one kind's line in the score.
type Sum struct {
	Kind    Kind
	All     int
	Count   map[Outcome]int
	Median  float64 // seconds of a diagnosis
	Slowest float64
	Runs    int // diagnoses of hosts that should show nothing
	Alarms  int // of them with a finding at warning or above
	Beside  int // trials with another finding at warning or above that is not folded under the right one
}

// Judged are the trials that say something of hostmend.
func (s Sum) Judged() int { return s.All - s.Count[Skipped] - s.Count[Failed] }

// Percent of the judged trials that came out as o.
func (s Sum) Percent(o Outcome) string {
	if s.Judged() == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(s.Count[o])/float64(s.Judged()))
}

func (s Score) sum(kind Kind) Sum {
	sum := Sum{Kind: kind}
	sum.Count, sum.All = tally(s.Trials, kind)
	var seconds []float64
	for _, t := range s.of(kind) {
		sum.Runs += t.Runs
		sum.Alarms += t.Alarms
		if t.Outcome != Skipped && t.Outcome != Failed {
			seconds = append(seconds, t.Seconds)
		}
		if len(t.Beside) > 0 {
			sum.Beside++
		}
	}
	if len(seconds) > 0 {
		slices.Sort(seconds)
		sum.Median, sum.Slowest = seconds[len(seconds)/2], seconds[len(seconds)-1]
	}
	return sum
}

func (s Score) of(kind Kind) []Trial {
	return slices.DeleteFunc(slices.Clone(s.Trials), func(t Trial) bool { return t.Kind != kind })
}

// Figure is a promise of the project, and whether the score keeps it.
type Figure struct {
	What, Goal, Measured, Remark string
	Met                          bool
}

// figures holds the score to what the project promises.
func (s Score) figures() []Figure {
	var figures []Figure
	share := func(what string, kind Kind, least float64) {
		sum := s.sum(kind)
		f := Figure{What: what, Goal: fmt.Sprintf("≥ %.0f %%", least), Measured: sum.Percent(First)}
		if sum.Judged() > 0 {
			f.Met = 100*float64(sum.Count[First]) >= least*float64(sum.Judged())
			f.Remark = fmt.Sprintf("%d of %d %s", sum.Count[First], sum.Judged(), kind)
		}
		figures = append(figures, f)
	}
	share("right cause first", Faults, 95)
	last := s.sets()
	for set := last; set > 0; set-- {
		f := s.atFirst(set)
		if set == last {
			f.What, f.Goal = "right cause first, on what was written last, at first sight", "≥ 85 %"
		}
		figures = append(figures, f)
	}
	share("right cause first, on those that it has learnt from", Learnt, 95)
	quiet := func(what string, of func(Trial) bool, least int) {
		f := Figure{What: what, Goal: "0"}
		runs, alarms, hosts := 0, 0, 0
		for _, t := range s.of(Decoys) {
			if of(t) && t.Runs > 0 {
				runs, alarms, hosts = runs+t.Runs, alarms+t.Alarms, hosts+1
			}
		}
		f.Measured, f.Met = fmt.Sprint(alarms), alarms == 0 && runs >= least
		f.Remark = fmt.Sprintf("%d hosts, %d diagnoses", hosts, runs)
		figures = append(figures, f)
	}
	quiet("diagnoses of a healthy host with a finding at warning or above, of at least 100", Trial.plain, 100)
	quiet("the same of decoys", func(t Trial) bool { return !t.plain() }, 1)
	return figures
}

// sets is how many sets of frozen faults were diagnosed so far.
func (s Score) sets() (last int) {
	for _, t := range s.Trials {
		last = max(last, t.AtFirstSet)
	}
	return last
}

// atFirst is the figure that no later work can better: what was made of a set of faults that nobody who wrote the library had seen.
func (s Score) atFirst(set int) Figure {
	right, all := 0, 0
	for _, t := range s.Trials {
		if t.AtFirstSet == set {
			all++
			if t.AtFirst == First {
				right++
			}
		}
	}
	return Figure{
		What:     fmt.Sprintf("the same of set %d, from which the library has learnt since", set),
		Measured: fmt.Sprintf("%.1f %%", 100*float64(right)/float64(all)), Met: 100*right >= 85*all,
		Remark: fmt.Sprintf("%d of %d, set %d", right, all, set),
	}
}

// plain reports whether nothing was done to the host at all: of those, the name begins with it.
func (t Trial) plain() bool { return t.Kind == Decoys && strings.HasPrefix(t.Fault, "healthy") }

// Markdown is the score for people. It says first what is promised, then what is wrong, then everything.
func (s Score) Markdown() string {
	type part struct {
		Sum    Sum
		Title  string
		Trials []Trial
	}
	page := struct {
		Score
		Figures []Figure
		Parts   []part
		Wrong   []Trial
		Older   []Trial
	}{Score: s, Figures: s.figures()}
	for _, kind := range kinds {
		if sum := s.sum(kind); sum.All > 0 && kind != Scenes {
			page.Parts = append(page.Parts, part{sum, titles[kind], s.of(kind)})
			for _, t := range s.of(kind) {
				if t.Outcome != First || len(t.Beside) > 0 {
					page.Wrong = append(page.Wrong, t)
				}
			}
		}
	}
	for _, t := range s.Trials {
		if t.Commit != s.Commit {
			page.Older = append(page.Older, t)
		}
	}
	var b strings.Builder
	if err := scorePage.Execute(&b, page); err != nil {
		panic(err) // the template and its data are both here
	}
	return b.String()
}

var titles = map[Kind]string{
	Faults:  "Faults",
	Frozen:  "Faults written last, by people who had not read the library",
	Learnt:  "Faults that were frozen before, from which the library has learnt",
	Doubles: "Two faults at once",
	Decoys:  "Healthy hosts that look sick",
}

// words of the outcomes in the score.
var words = map[Outcome]string{
	First: "first", InThree: "in the first three", Wrong: "**wrong finding**", Missed: "**missed**",
	Skipped: "skipped", Failed: "lab failed", Shown: "not diagnosed",
}

var scorePage = template.Must(template.New("score").Funcs(template.FuncMap{
	"cell": func(s string) string {
		return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
	},
	"sick":    func(title string) string { return strings.TrimPrefix(title, "Nothing is wrong, ") },
	"outcome": func(o Outcome) string { return words[o] },
	"findings": func(t Trial) string {
		var b strings.Builder
		for i, f := range t.Findings[:min(4, len(t.Findings))] {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString("`" + f.String() + "`")
		}
		return b.String()
	},
	"first": func(t Trial) string {
		if len(t.Findings) == 0 || t.Outcome == Failed || t.Outcome == Skipped {
			return ""
		}
		return "`" + t.Findings[0].String() + "`"
	},
	"short": func(s string) string { // a note can be a log
		line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
		if r := []rune(line); len(r) > 160 {
			line = string(r[:160]) + "…"
		}
		return line
	},
	"first3": func(s Sum) int { return s.Count[First] + s.Count[InThree] },
	"count":  func(s Sum, o string) int { return s.Count[Outcome(o)] },
}).Parse(`# Score

Does hostmend name what is wrong with a host? Real hosts, broken in ways that public sources describe; an oracle that knows nothing of
hostmend says when they are broken and when they are whole again. [lab/README.md](../lab/README.md) tells how, and how to add a fault.

Measured on {{.Date}} at commit {{.Commit}}: {{.Machine}}. Measured again by

` + "```" + `
make score                            # all of it
go run ./lab -run ID                  # one, with hostmend's answer
` + "```" + `

## In sum

| figure | goal | measured | | |
|---|---|---|---|---|
{{range .Figures}}| {{.What}} | {{.Goal}} | {{.Measured}} | {{if .Goal}}{{if .Met}}met{{else}}**not met**{{end}}{{end}} | {{.Remark}} |
{{end}}
| | hosts | right cause first | in the first three | wrong finding | missed | lab failed | skipped | something else beside it | seconds, median | slowest |
|---|---|---|---|---|---|---|---|---|---|---|
{{range .Parts}}| {{.Sum.Kind}} | {{.Sum.All}} | {{count .Sum "first"}} ({{.Sum.Percent "first"}}) | {{first3 .Sum}} | {{count .Sum "wrong"}} | {{count .Sum "missed"}} | {{count .Sum "failed"}} | {{count .Sum "skipped"}} | {{.Sum.Beside}} | {{printf "%.1f" .Sum.Median}} | {{printf "%.1f" .Sum.Slowest}} |
{{end}}
The right cause is first if what the fault file expects stands first in hostmend's list; of a decoy, if there is no finding at warning
or above in any run. Percentages are of the hosts that were diagnosed: where the lab itself failed, or this machine cannot make
the fault, nothing is said of hostmend. “Beside it” counts findings at warning or above that hostmend lists on their own though the fault
is one. One diagnosis takes at least a second, since rates are measured over a second.

The faults written last are by people who had not read the library, from public sources; what hostmend must say of each was named after
that, from the list of its playbooks' titles and meanings, by somebody who had written neither, before anything was diagnosed. A cause that
no playbook knows stays among them, as not-in-the-library, and counts as wrong. lab/frozen/SHA256SUMS holds them still. Their first
diagnosis is the figure. When the library learns from them, they are frozen no more: they move to lab/learnt, which keeps how they came
out at first sight, and others are written. The first set was looked for where the faults before it had nothing; the later ones were drawn by
lot from the catalogues of chaosblade, chaosd and stress-ng, from SadServers' scenarios and from the list of Alibaba Cloud's own diagnosis. A set
that is written and not diagnosed yet is sealed, and not on this page.

## What is not right

{{range .Wrong}}- **{{.Fault}}** ({{.Kind}}): {{outcome .Outcome}}{{if .Expect}}; expected {{.Expect | printf "%s"}}{{end}}{{if .Findings}}; found {{findings .}}{{end}}{{if .Beside}}; beside it {{range $i, $f := .Beside}}{{if $i}}, {{end}}` + "`{{$f}}`" + `{{end}}{{end}}{{if .Note}} — {{cell (short .Note)}}{{end}}
{{else}}Nothing.
{{end}}
{{range .Parts}}## {{.Title}}

{{if eq .Sum.Kind "decoys"}}| host | what looks sick | | diagnoses | with a finding | seconds |
|---|---|---|---|---|---|
{{range .Trials}}| {{.Fault}} | {{sick .Title}} | {{outcome .Outcome}} | {{.Runs}} | {{.Alarms}} | {{printf "%.1f" .Seconds}} |
{{end}}{{else}}| fault | what is wrong | expected | | found first | seconds |
|---|---|---|---|---|---|
{{range .Trials}}| {{.Fault}} | {{cell .Title}} | {{.Expect | printf "%s"}} | {{outcome .Outcome}}{{if and .AtFirst (ne .AtFirst .Outcome)}}, at first sight {{outcome .AtFirst}}{{end}} | {{first .}} | {{printf "%.1f" .Seconds}} |
{{end}}{{end}}
{{end}}{{if .Older}}{{len .Older}} rows are from other commits: {{range $i, $t := .Older}}{{if $i}}, {{end}}{{$t.Fault}} ({{$t.Commit}}){{end}}.
{{end}}`))
