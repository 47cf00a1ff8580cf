package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Outcome is how near the diagnosis came to the fault.
type Outcome string

// The outcomes, best first.
const (
	First   Outcome = "first"   // what was expected is the first finding; or nothing was expected and nothing above info found
	InThree Outcome = "third"   // it is among the first three
	Wrong   Outcome = "wrong"   // other findings at warning or above; at best what was expected is further down
	Missed  Outcome = "missed"  // neither what was expected nor anything else above info, or no answer at all
	Shown   Outcome = "shown"   // -oracle-only: the fault came and went as the oracle should see it
	Skipped Outcome = "skipped" // this machine lacks what the fault needs
	Failed  Outcome = "failed"  // the lab itself failed, or the fault broke the host beyond use: says nothing of hostmend
)

var outcomes = []Outcome{First, InThree, Wrong, Missed, Shown, Skipped, Failed}

// Trial is one fault's row in the score.
type Trial struct {
	Fault    string    `json:"fault"`
	Kind     Kind      `json:"kind"`
	Title    string    `json:"title"`
	Expect   Expect    `json:"expect"`
	Outcome  Outcome   `json:"outcome"`
	Findings []Finding `json:"findings,omitempty"`
	Beside   []string  `json:"beside,omitempty"` // other findings at warning or above that hostmend does not put down to the fault
	Runs     int       `json:"runs,omitempty"`   // diagnoses of a host that should show nothing
	Alarms   int       `json:"alarms,omitempty"` // those that found something all the same
	Exit     int       `json:"exit,omitempty"`
	Seconds  float64   `json:"seconds"`          // of the diagnosis, the slowest of several
	Total    float64   `json:"total_seconds"`    // with boot, inject, oracles and clear
	Note     string    `json:"note,omitempty"`   // why it was skipped or failed
	Output   string    `json:"output,omitempty"` // hostmend's JSON where the outcome is not First
	Commit   string    `json:"commit,omitempty"` // of hostmend and the fault, in a score
	// AtFirst is how the first diagnosis of a frozen fault came out, before the library could learn from it; which set of frozen faults
	// it belonged to, from 1 on, and the commit of that diagnosis.
	AtFirst       Outcome `json:"at_first,omitempty"`
	AtFirstSet    int     `json:"at_first_set,omitempty"`
	AtFirstCommit string  `json:"at_first_commit,omitempty"`
}

// Finding is the part of hostmend's JSON that the score needs.
type Finding struct {
	Playbook string `json:"playbook"`
	Object   string `json:"object,omitempty"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	// ExplainedBy are the findings that it is folded under.
	ExplainedBy []string `json:"explained_by,omitempty"`
}

func (f Finding) String() string {
	if f.Object == "" {
		return f.Playbook
	}
	return f.Playbook + "/" + f.Object
}

// alarm: it is at warning or above.
func (f Finding) alarm() bool { return f.Severity != "info" }

// try makes a fault on a host that was just booted, has it diagnosed, and clears it.
func (l *Lab) try(ctx context.Context, h Host, f Fault, t *Trial) error {
	for _, path := range f.Needs {
		if err := h.Command(ctx, "test", "-e", path).Run(); err != nil {
			t.Outcome, t.Note = Skipped, "this kernel has no "+path
			return nil
		}
	}
	if f.Setup.Text != "" {
		if _, err := f.Setup.Run(ctx, h); err != nil {
			return fmt.Errorf("setup: %w", err)
		}
	}
	if f.Setup.Text != "" || f.Healthy.Text != "" {
		if err := until(ctx, 20*h.Pace()*time.Second, func() error { return healthyFor(ctx, h, f) }); err != nil {
			return fmt.Errorf("not healthy before the fault: %w", err)
		}
	}
	before, err := State(ctx, h)
	if err != nil {
		return err
	}
	if err := l.breakAndLook(ctx, h, f, t); err != nil {
		return err
	}
	return mend(ctx, h, f, before)
}

// breakAndLook injects, waits until the oracle sees the trouble, and diagnoses while it lasts.
func (l *Lab) breakAndLook(ctx context.Context, h Host, f Fault, t *Trial) error {
	broken := func() error {
		if f.Kind == Decoys { // what looks sick must be as healthy as before
			if err := healthyFor(ctx, h, f); err != nil {
				return fmt.Errorf("a decoy that is not healthy: %w", err)
			}
		}
		if f.Broken.Text == "" {
			return nil
		}
		_, err := f.Broken.Run(ctx, h)
		return err
	}
	if f.Inject.Text != "" {
		if _, err := f.Inject.Run(ctx, h); err != nil {
			return fmt.Errorf("inject: %w", err)
		}
	}
	if err := until(ctx, 20*h.Pace()*time.Second, broken); err != nil {
		return fmt.Errorf("injected, but the oracle sees no trouble: %w", err)
	}
	t.Outcome = Shown
	for range l.times(f) {
		one := Trial{Expect: f.Expect}
		if err := diagnose(ctx, h, &one); err != nil {
			return err
		}
		t.add(one)
	}
	if l.Captures != "" {
		file := filepath.Join(l.Captures, f.ID+".txtar")
		if err := capture(ctx, h, file); err != nil {
			return err
		}
		if l.Stories != "" && t.Outcome == First && len(f.Expect) == 1 && !f.Expect.nothing() {
			if err := l.story(ctx, f, file); err != nil {
				return err
			}
		}
	}
	if err := broken(); err != nil {
		return fmt.Errorf("the trouble did not last through the diagnosis: %w", err)
	}
	return nil
}

// mend clears the fault; the host must then be healthy, and set up as before.
func mend(ctx context.Context, h Host, f Fault, before string) error {
	if f.Clear.Text != "" {
		if _, err := f.Clear.Run(ctx, h); err != nil {
			return fmt.Errorf("clear: %w", err)
		}
	}
	if err := until(ctx, 30*h.Pace()*time.Second, func() error { return healthyFor(ctx, h, f) }); err != nil {
		return fmt.Errorf("not healthy after clearing: %w", err)
	}
	return until(ctx, 5*h.Pace()*time.Second, func() error { // sockets and units settle
		after, err := State(ctx, h)
		if err == nil && after != before {
			err = fmt.Errorf("clearing left a trace:\n%s", difference(before, after))
		}
		return err
	})
}

func healthyFor(ctx context.Context, h Host, f Fault) error {
	if err := Healthy(ctx, h); err != nil || f.Healthy.Text == "" {
		return err
	}
	_, err := f.Healthy.Run(ctx, h)
	return err
}

// diagnose runs hostmend inside the host and judges its answer. It is no failure of the lab if hostmend gives none while the
// host still runs programs.
func diagnose(ctx context.Context, h Host, t *Trial) error {
	start := time.Now()
	err := ask(ctx, h, t)
	t.Seconds = time.Since(start).Seconds()
	if err != nil {
		const cannotRun = 126 // or 127: env's answers for a program that does not start
		if other := alive(ctx, h); other != nil || t.Exit == cannotRun || t.Exit == cannotRun+1 {
			return fmt.Errorf("hostmend cannot run on this host: %w", errors.Join(err, other))
		}
		t.Outcome, t.Note = Missed, "hostmend: "+err.Error()
		return nil
	}
	if t.Outcome = judge(t.Expect, t.Findings); t.Outcome == First {
		t.Output = ""
	}
	return nil
}

// capture writes what hostmend sees of the host, secrets removed, to a file.
func capture(ctx context.Context, h Host, file string) error {
	ctx, cancel := context.WithTimeout(ctx, h.Pace()*scriptTimeout)
	defer cancel()
	cmd := h.Command(ctx, "hostmend", "capture")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("hostmend capture: %w: %s", err, lastLines(stderr.String(), 5))
	}
	return os.WriteFile(file, stdout.Bytes(), 0o644)
}

// add takes in one diagnosis. Of several, which only a host that should show nothing has, the first wrong one is told.
func (t *Trial) add(one Trial) {
	slowest := max(t.Seconds, one.Seconds)
	if t.Outcome == Shown || t.Outcome == First {
		t.Outcome, t.Findings, t.Exit, t.Output, t.Note = one.Outcome, one.Findings, one.Exit, one.Output, one.Note
	}
	t.Seconds = slowest
	if t.Expect.nothing() {
		t.Runs++
		if one.Outcome != First {
			t.Alarms++
		}
		return
	}
	for _, f := range one.Findings {
		if f.alarm() && len(f.ExplainedBy) == 0 && !t.Expect.has(f) {
			t.Beside = append(t.Beside, f.String())
		}
	}
}

// alive is nil if the host still runs programs.
func alive(ctx context.Context, h Host) error {
	_, err := Script{Where: inHost, Text: ":"}.Run(ctx, h)
	if err != nil {
		err = fmt.Errorf("nothing else runs there either: %w", err)
	}
	return err
}

// ask runs hostmend inside the host and reads its answer.
func ask(ctx context.Context, h Host, t *Trial) error {
	ctx, cancel := context.WithTimeout(ctx, h.Pace()*scriptTimeout)
	defer cancel()
	cmd := h.Command(ctx, "hostmend", "diagnose", "-o", "json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	t.Exit, t.Output = cmd.ProcessState.ExitCode(), stdout.String()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || t.Exit != 1 && t.Exit != 4) {
		return fmt.Errorf("%w: %s", err, lastLines(stderr.String(), 5))
	}
	var diagnosis struct {
		Findings []Finding `json:"findings"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &diagnosis); err != nil {
		return fmt.Errorf("reading its JSON: %w", err)
	}
	t.Findings = diagnosis.Findings
	return nil
}

// judge compares findings, most important first, with what was expected.
func judge(expect Expect, findings []Finding) Outcome {
	alarm := slices.ContainsFunc(findings, Finding.alarm)
	if expect.nothing() {
		if alarm {
			return Wrong
		}
		return First
	}
	last := 0 // the place of the last that was expected
	for _, want := range expect {
		i := slices.IndexFunc(findings, Expect{want}.has)
		switch {
		case i < 0 && alarm:
			return Wrong
		case i < 0:
			return Missed
		}
		last = max(last, i+1)
	}
	switch {
	case last <= len(expect):
		return First
	case last <= 3:
		return InThree
	}
	return Wrong
}

// difference lists the lines that only one of two texts has.
func difference(before, after string) string {
	has := func(text string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.Lines(text) {
			lines[line] = true
		}
		return lines
	}
	var b strings.Builder
	list := func(sign, text string, other map[string]bool) {
		for line := range strings.Lines(text) {
			if !other[line] {
				b.WriteString(sign + line)
			}
		}
	}
	list("-", before, has(after))
	list("+", after, has(before))
	return b.String()
}
