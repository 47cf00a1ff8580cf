package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

// TestMain lets the stories run this very binary as hostmend.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hostmend": main})
}

// The stories in testdata/script run the real program, mostly on captured hosts.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("LANG", "C.UTF-8")
			data, err := os.ReadFile("testdata/shop.txtar")
			if err != nil {
				return err
			}
			return os.WriteFile(e.WorkDir+"/shop.txtar", data, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and checks its exit code: exits 4 hostmend replay case.txtar
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("%s exits with %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

func TestProbesAreWellDefined(t *testing.T) {
	if err := probes.Validate(hostProbes()); err != nil {
		t.Error(err)
	}
}

// patient is a host on which time passes only when the test lets it.
type patient struct {
	host.Host
	slept chan struct{}
}

func (p *patient) Sleep(ctx context.Context, _ time.Duration) error {
	close(p.slept)
	<-ctx.Done()
	return ctx.Err()
}

// Ctrl-C in the middle leaves nothing behind: no half report, no progress line.
func TestInterrupted(t *testing.T) {
	for _, args := range []string{"diagnose --playbooks testdata/load-high.yaml", "facts", "probe cpu", "capture"} {
		h, err := hosttest.Open("testdata/shop.txtar")
		if err != nil {
			t.Fatal(err)
		}
		slow := &patient{Host: h, slept: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-slow.slept; cancel() }()
		var out, errs bytes.Buffer
		code := (&program{Stdout: &out, Stderr: &errs, Host: slow}).run(ctx, strings.Fields(args))
		if code != exitInterrupted || out.Len() > 0 || errs.String() != "hostmend: interrupted\n" {
			t.Errorf("%s: exit %d, standard output %q, standard error %q", args, code, out.String(), errs.String())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A report that could not be written is a failure, and says so.
func TestOutputFails(t *testing.T) {
	for _, args := range []string{
		"replay testdata/shop.txtar --playbooks testdata/load-high.yaml -o text", "replay testdata/shop.txtar --playbooks testdata/load-high.yaml -o brief", "replay testdata/shop.txtar --playbooks testdata/load-high.yaml -o json", "replay testdata/shop.txtar --playbooks testdata/load-high.yaml -o yaml",
		"replay testdata/shop.txtar --playbooks testdata/load-high.yaml -o markdown", "replay testdata/shop.txtar --playbooks testdata/load-high.yaml -o html", "facts", "facts -o json", "probe docs", "playbook docs testdata/load-high.yaml", "version", "capture",
	} {
		h, err := hosttest.Open("testdata/shop.txtar")
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		code := (&program{Stdout: fullDisk{}, Stderr: &errs, Host: h}).run(t.Context(), strings.Fields(args))
		if code != exitFailed || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("%s: exit %d, standard error %q", args, code, errs.String())
		}
	}
}

// What the probes see of a machine while it is captured is what they see of the capture.
func TestCaptureSaysWhatTheProbesSaw(t *testing.T) {
	recorder := hosttest.Record(host.Redacted(&host.Local{Offline: true}))
	p := &program{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	p.log = p.logger()
	live := p.look(t.Context(), recorder, nil)
	h, err := hosttest.Parse(recorder.Format())
	if err != nil {
		t.Fatal(err)
	}
	replayed := p.look(t.Context(), h, nil)
	if live.Host != replayed.Host || !live.At.Equal(replayed.At) {
		t.Errorf("host and time: %s %s, replayed %s %s", live.Host, live.At, replayed.Host, replayed.At)
	}
	for i, info := range probes.Describe(hostProbes()) {
		a, b := live.Observations[i], replayed.Observations[i]
		x, y := info.Facts.AppendJSON(nil, &a.Facts), info.Facts.AppendJSON(nil, &b.Facts)
		if a.Status != b.Status || a.Reason != b.Reason || !bytes.Equal(x, y) {
			t.Errorf("%s: %s %s\n%.2000s\nreplayed: %s %s\n%.2000s", info.Name, a.Status, a.Reason, x, b.Status, b.Reason, y)
		}
	}
}
