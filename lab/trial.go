package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Outcome is how near the diagnosis came to the fault.
type Outcome string

// The outcomes, best first.
const (
	First   Outcome = "first"   // what was expected is the first finding; or nothing was expected and nothing above info found
	InThree Outcome = "third"   // it is the second or third
	Wrong   Outcome = "wrong"   // other findings, at best this one further down
	Missed  Outcome = "missed"  // no findings at all
	Shown   Outcome = "shown"   // -oracle-only: the fault came and went as the oracle should see it
	Skipped Outcome = "skipped" // this kernel lacks what the fault needs
	Failed  Outcome = "failed"  // the lab or hostmend itself failed
)

// Trial is one fault's row in the score.
type Trial struct {
	Fault    string    `json:"fault"`
	Expect   string    `json:"expect"`
	Outcome  Outcome   `json:"outcome"`
	Findings []Finding `json:"findings,omitempty"`
	Exit     int       `json:"exit,omitempty"`
	Seconds  float64   `json:"seconds"`          // of the diagnosis
	Total    float64   `json:"total_seconds"`    // with boot, inject, oracles and clear
	Note     string    `json:"note,omitempty"`   // why it was skipped or failed
	Output   string    `json:"output,omitempty"` // hostmend's JSON where the outcome is not First
}

// Finding is the part of hostmend's JSON that the score needs.
type Finding struct {
	Playbook string `json:"playbook"`
	Object   string `json:"object,omitempty"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
}

func (f Finding) String() string {
	if f.Object == "" {
		return f.Playbook
	}
	return f.Playbook + "/" + f.Object
}

// try makes a fault on a host that was just booted, has it diagnosed unless oracleOnly, and clears it.
func try(ctx context.Context, h Host, f Fault, oracleOnly bool, t *Trial) error {
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
		if err := until(ctx, 20*time.Second, func() error { return healthyFor(ctx, h, f) }); err != nil {
			return fmt.Errorf("not healthy before the fault: %w", err)
		}
	}
	before, err := State(ctx, h)
	if err != nil {
		return err
	}
	if err := breakAndLook(ctx, h, f, oracleOnly, t); err != nil {
		return err
	}
	return mend(ctx, h, f, before)
}

// breakAndLook injects, waits until the oracle sees the trouble, and diagnoses while it lasts.
func breakAndLook(ctx context.Context, h Host, f Fault, oracleOnly bool, t *Trial) error {
	broken := func() error {
		if f.Broken.Text == "" {
			return nil
		}
		_, err := f.Broken.Run(ctx, h)
		return err
	}
	if _, err := f.Inject.Run(ctx, h); err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	if err := until(ctx, 20*time.Second, broken); err != nil {
		return fmt.Errorf("injected, but the oracle sees no trouble: %w", err)
	}
	if oracleOnly {
		t.Outcome = Shown
		return nil
	}
	if err := diagnose(ctx, h, t); err != nil {
		return err
	}
	t.Outcome = judge(f.Expect, t.Findings)
	if t.Outcome == First {
		t.Output = ""
	}
	if err := broken(); err != nil {
		return fmt.Errorf("the trouble did not last through the diagnosis: %w", err)
	}
	return nil
}

// mend clears the fault; the host must then be healthy, and set up as before.
func mend(ctx context.Context, h Host, f Fault, before string) error {
	if _, err := f.Clear.Run(ctx, h); err != nil {
		return fmt.Errorf("clear: %w", err)
	}
	if err := until(ctx, 30*time.Second, func() error { return healthyFor(ctx, h, f) }); err != nil {
		return fmt.Errorf("not healthy after clearing: %w", err)
	}
	return until(ctx, 5*time.Second, func() error { // sockets and units settle
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

// diagnose runs hostmend inside the host.
func diagnose(ctx context.Context, h Host, t *Trial) error {
	ctx, cancel := context.WithTimeout(ctx, scriptTimeout)
	defer cancel()
	cmd := h.Command(ctx, "hostmend", "diagnose", "-o", "json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	t.Seconds = time.Since(start).Seconds()
	t.Exit, t.Output = cmd.ProcessState.ExitCode(), stdout.String()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || t.Exit != 1 && t.Exit != 4) {
		return fmt.Errorf("hostmend: %w: %s", err, lastLines(stderr.String(), 5))
	}
	var diagnosis struct {
		Findings []Finding `json:"findings"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &diagnosis); err != nil {
		return fmt.Errorf("hostmend's JSON: %w", err)
	}
	t.Findings = diagnosis.Findings
	return nil
}

// judge compares findings, most important first, with what was expected.
func judge(expect string, findings []Finding) Outcome {
	if expect == Nothing {
		for _, f := range findings {
			if f.Severity != "info" {
				return Wrong
			}
		}
		return First
	}
	for i, f := range findings {
		if f.Playbook == expect || f.String() == expect {
			switch {
			case i == 0:
				return First
			case i < 3:
				return InThree
			}
			return Wrong
		}
	}
	if len(findings) == 0 {
		return Missed
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
