package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestScoreIsComplete holds docs/score.md to the fault files: what was measured is not asked, only that nothing was left out.
func TestScoreIsComplete(t *testing.T) {
	s, err := readScore("../docs/score.json")
	if err != nil {
		t.Fatal(err)
	}
	faults, err := LoadFaults(".", kinds...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if f.Kind != Scenes && !f.sealed() && !slices.ContainsFunc(s.Trials, func(t Trial) bool { return t.Fault == f.ID && t.Kind == f.Kind }) {
			t.Errorf("%s has no row in docs/score.md: go run ./lab -run '^%s$' -score docs/score.md", f.ID, f.ID)
		}
	}
	page, err := os.ReadFile("../docs/score.md")
	if err != nil {
		t.Fatal(err)
	}
	if s.Markdown() != string(page) {
		t.Error("docs/score.md is not what docs/score.json says")
	}
}

// TestReadmeAgrees: where a README says `N of M faults` (or frozen, doubles, decoys), the score says so too.
func TestReadmeAgrees(t *testing.T) {
	s, err := readScore("../docs/score.json")
	if err != nil {
		t.Fatal(err)
	}
	claim := regexp.MustCompile(`(\d+) of (\d+) (faults|frozen|doubles|decoys)`)
	for _, file := range []string{"../README.md", "../README.zh-CN.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range claim.FindAllStringSubmatch(string(text), -1) {
			sum := s.sum(Kind(m[3]))
			if m[1] != strconv.Itoa(sum.Count[First]) || m[2] != strconv.Itoa(sum.Judged()) {
				t.Errorf("%s says %q, the score %d of %d", file, m[0], sum.Count[First], sum.Judged())
			}
		}
	}
}

func TestScore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "score.md")
	faults := []Fault{
		{Kind: Faults, ID: "a", Title: "A | b"},
		{Kind: Faults, ID: "b"},
		{Kind: Faults, ID: "c"},
		{Kind: Faults, ID: "d"},
		{Kind: Frozen, ID: "e"},
		{Kind: Frozen, ID: "f"},
		{Kind: Decoys, ID: "healthy"},
		{Kind: Decoys, ID: "odd"},
	}
	found := func(names ...string) (findings []Finding) {
		for _, name := range names {
			findings = append(findings, Finding{Playbook: name, Severity: "warning"})
		}
		return findings
	}
	first := Score{Commit: "1", Trials: []Trial{
		{Kind: Faults, Fault: "a", Expect: Expect{"x"}, Outcome: Wrong, Findings: found("y"), Beside: []string{"y"}, Commit: "1"},
		{Kind: Faults, Fault: "b", Expect: Expect{"x"}, Outcome: Failed, Note: "inject: no\nmore", Commit: "1"},
		{Kind: Faults, Fault: "gone", Outcome: Missed, Commit: "1"},
		{Kind: Frozen, Fault: "e", Outcome: Missed, Commit: "1"},
		{Kind: Frozen, Fault: "f", Outcome: Failed, Commit: "1"}, // says nothing, so the next is its first sight
	}}
	if err := first.write(file, faults); err != nil {
		t.Fatal(err)
	}
	second := Score{Commit: "2", Trials: []Trial{
		{Kind: Faults, Fault: "b", Expect: Expect{"x"}, Outcome: First, Findings: found("x"), Seconds: 1, Commit: "2"},
		{Kind: Faults, Fault: "c", Outcome: Skipped, Commit: "2"},
		{Kind: Frozen, Fault: "e", Outcome: First, Commit: "2"},
		{Kind: Frozen, Fault: "f", Outcome: First, Commit: "2"},
		{Kind: Decoys, Fault: "healthy", Expect: Expect{Nothing}, Outcome: First, Runs: 100, Commit: "2"},
		{Kind: Decoys, Fault: "odd", Expect: Expect{Nothing}, Outcome: Wrong, Runs: 10, Alarms: 1, Findings: found("z"), Commit: "2"},
	}}
	if err := second.write(file, faults); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| right cause first | ≥ 95 % | 50.0 % | **not met** | 1 of 2 faults |", // the skipped one says nothing
		"| right cause first, on what was written last, at first sight | ≥ 85 % | 50.0 % | **not met** | 1 of 2, set 1 |",
		"| e |  |  | first, at first sight **missed** |",
		"of at least 100 | 0 | 0 | met | 1 hosts, 100 diagnoses |",
		"| the same of decoys | 0 | 1 | **not met** | 1 hosts, 10 diagnoses |",
		"| faults | 3 | 1 (50.0 %) | 1 | 1 | 0 | 0 | 1 | 1 | 1.0 | 1.0 |",
		"- **a** (faults): **wrong finding**; expected x; found `y`; beside it `y`\n",
		"- **odd** (decoys): **wrong finding**; expected nothing; found `z`\n",
		`| a | A \| b | x | **wrong finding** | ` + "`y` | 0.0 |",
		"| odd |  | **wrong finding** | 10 | 1 | 0.0 |",
		"1 rows are from other commits: a (1).",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("missing: %s", line)
		}
	}
	if strings.Contains(string(text), "gone") {
		t.Error("a fault that is no more keeps its row")
	}
	if t.Failed() {
		t.Log(string(text))
	}

	faults[4].Kind, faults[5].Kind = Learnt, Learnt
	faults = append(faults, Fault{Kind: Frozen, ID: "g"}, Fault{Kind: Frozen, ID: "sealed", Expect: Expect{ToBeNamed}})
	third := Score{Commit: "3", Trials: []Trial{
		{Kind: Frozen, Fault: "g", Outcome: First, Commit: "3"},
		(&Lab{}).Try(t.Context(), faults[len(faults)-1]), // boots nothing
	}}
	if third.Trials[1].Outcome != Skipped {
		t.Errorf("a sealed fault was tried: %+v", third.Trials[1])
	}
	if err := third.write(file, faults); err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"| right cause first, on what was written last, at first sight | ≥ 85 % | 100.0 % | met | 1 of 1, set 2 |",
		"| the same of set 1, from which the library has learnt since |  | 50.0 % |  | 1 of 2, set 1 |",
		"| right cause first, on those that it has learnt from | ≥ 95 % | 100.0 % | met | 2 of 2 learnt |",
		"| e |  |  | first, at first sight **missed** |",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("when e and f are learnt, missing: %s\n%s", line, text)
		}
	}
	if strings.Contains(string(text), "sealed |") {
		t.Error("the page tells of a sealed fault")
	}
	if _, err := readScore(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestTimes(t *testing.T) {
	healthy := Fault{Kind: Decoys}
	decoy := Fault{Kind: Decoys, Inject: Script{inHost, "true"}}
	fault := Fault{Kind: Faults, Inject: Script{inHost, "true"}}
	for _, row := range []struct {
		lab  Lab
		f    Fault
		want int
	}{
		{Lab{}, healthy, 1},
		{Lab{Repeat: 100}, healthy, 100},
		{Lab{Repeat: 100}, decoy, 10},
		{Lab{Repeat: 5}, decoy, 1},
		{Lab{Repeat: 100}, fault, 1},
		{Lab{Repeat: 100, OracleOnly: true}, healthy, 0},
	} {
		if got := row.lab.times(row.f); got != row.want {
			t.Errorf("%+v, %s: %d, want %d", row.lab, row.f.Kind, got, row.want)
		}
	}
}

// TestAdd: of many diagnoses of a healthy host the wrong one is told, and a fault's own consequences stand not beside it.
func TestAdd(t *testing.T) {
	quiet := Trial{Expect: Expect{Nothing}, Outcome: Shown}
	for i, outcome := range []Outcome{First, Wrong, First} {
		quiet.add(Trial{Outcome: outcome, Seconds: float64(i), Note: string(outcome)})
	}
	if quiet.Outcome != Wrong || quiet.Runs != 3 || quiet.Alarms != 1 || quiet.Note != "wrong" || quiet.Seconds != 2 {
		t.Errorf("%+v", quiet)
	}
	sick := Trial{Expect: Expect{"a"}, Outcome: Shown}
	sick.add(Trial{Outcome: First, Findings: []Finding{
		{Playbook: "a", Severity: "critical"},
		{Playbook: "b", Severity: "warning", ExplainedBy: []string{"a"}},
		{Playbook: "c", Object: "x", Severity: "warning"},
		{Playbook: "d", Severity: "info"},
	}})
	if !slices.Equal(sick.Beside, []string{"c/x"}) || sick.Runs != 0 {
		t.Errorf("%+v", sick)
	}
}
