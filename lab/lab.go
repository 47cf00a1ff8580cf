package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Lab tries faults, each on a host of its own.
type Lab struct {
	Image      Image
	Hostmend   string // the program under test
	OracleOnly bool
	Repeat     int    // how often the healthy host is diagnosed, see times
	Stories    string // the library whose playbooks get stories of these captures, if any
	Captures   string // where to keep a capture of each broken host, if anywhere
}

// Try boots a host and makes, diagnoses and clears one fault on it.
func (l *Lab) Try(ctx context.Context, f Fault) Trial {
	start := time.Now()
	t := Trial{Fault: f.ID, Kind: f.Kind, Title: f.Title, Expect: f.Expect}
	if f.sealed() && !l.OracleOnly {
		t.Outcome, t.Note = Skipped, "sealed: its right answer is to be named before anything diagnoses it"
		return t
	}
	h, err := l.Boot(ctx, f.Machine)
	switch {
	case errors.Is(err, errNoMachine):
		t.Outcome, t.Note = Skipped, err.Error()
		err = nil
	case err == nil:
		err = l.try(ctx, h, f, &t)
	}
	if h != nil {
		err = errors.Join(err, h.Close())
	}
	if err != nil {
		t.Outcome, t.Note = Failed, err.Error()
	}
	t.Total = time.Since(start).Seconds()
	return t
}

// times is how often a host is diagnosed: what should show nothing more than once, for a false alarm may be rare; a decoy, of
// which there are many, a tenth as often as the host to which nothing was done.
func (l *Lab) times(f Fault) int {
	switch {
	case l.OracleOnly:
		return 0
	case f.plain():
		return max(1, l.Repeat)
	case f.Kind == Decoys:
		return max(1, l.Repeat/10)
	}
	return 1
}

// errNoMachine is what Boot returns where the lab has no machine of the wanted kind.
var errNoMachine = errors.New("no such machine here")

// Boot starts a healthy host. A host that it returns must be closed, also if there is an error.
func (l *Lab) Boot(ctx context.Context, machine string) (Host, error) {
	switch machine {
	case Container:
		return bootContainer(ctx, l.Image, l.Hostmend)
	case VM:
		image, err := OpenVMImage(ctx, l.Image, os.Stderr)
		if err != nil {
			return nil, err
		}
		return resumeVM(ctx, image, l.Hostmend)
	default:
		return nil, fmt.Errorf("%w: %s", errNoMachine, machine)
	}
}

// TryAll tries faults, so many at once, and returns the trials in the same order; one that was interrupted or never begun has no outcome.
// One virtual machine at a time is enough: it alone keeps more than one processor busy.
func (l *Lab) TryAll(ctx context.Context, faults []Fault, parallel int, done func()) []Trial {
	trials := make([]Trial, len(faults))
	slots, vms := make(chan struct{}, max(1, parallel)), make(chan struct{}, 1)
	var all sync.WaitGroup
	for i, f := range faults {
		all.Go(func() {
			if f.Machine == VM {
				vms <- struct{}{}
				defer func() { <-vms }()
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			if t := l.Try(ctx, f); ctx.Err() == nil {
				trials[i] = t
				done()
			}
		})
	}
	all.Wait()
	return trials
}

// Shell boots a host and gives the terminal to a shell in it.
func (l *Lab) Shell(ctx context.Context, machine string) error {
	h, err := l.Boot(ctx, machine)
	if err == nil {
		fmt.Println("The host ends with this shell.", h.Entrance())
		shell := h.Shell(ctx)
		shell.SysProcAttr.Setpgid = false // the terminal's foreground group
		shell.Cancel = func() error { return shell.Process.Kill() }
		shell.Stdin, shell.Stdout, shell.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err = shell.Run(); errors.As(err, new(*exec.ExitError)) {
			err = nil
		}
	}
	if h != nil {
		err = errors.Join(err, h.Close())
	}
	return err
}

// Possible says why this machine can have no lab, or nil.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root")
	}
	for _, program := range []string{"systemd-nspawn", "debootstrap", "lxcfs", "nsenter", "ip", "nft", "curl", "ssh", "mkfs.ext4"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed: `make packages` does that on Debian", program)
		}
	}
	for _, file := range []string{"/dev/loop-control", "/dev/fuse"} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("this machine cannot have containers with a disk and a network: %w", err)
		}
	}
	return nil
}
