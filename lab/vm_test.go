package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestControl talks to the program that runs a virtual machine's commands, over a terminal in place of its serial port.
func TestControl(t *testing.T) {
	if _, err := exec.LookPath("perl"); err != nil {
		t.Skip(err)
	}
	line, port := rawTerminal(t)
	program := filepath.Join(t.TempDir(), "lab-control")
	if err := os.WriteFile(program, []byte(vmControlProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	control := exec.CommandContext(t.Context(), "perl", program, port)
	control.Stderr = t.Output()
	if err := control.Start(); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("0123456789abcdef", 20_000) // more than a pipe or the line takes at once
	for _, c := range []struct {
		name                 string
		argv                 []string
		input, output, error string
		status               int
	}{
		{"status", []string{"sh", "-c", "exit 3"}, "", "", "", 3},
		{"both outputs", []string{"sh", "-c", "echo out; echo err >&2"}, "", "out\n", "err\n", 0},
		{"input to its end", []string{"sh", "-c", "cat; echo end"}, "a\nb\n", "a\nb\nend\n", "", 0},
		{"more than fits at once", []string{"cat"}, large, large, "", 0},
		{"empty words", []string{"sh", "-c", "", ""}, "", "", "", 0},
		{"killed", []string{"sh", "-c", "kill -9 $$"}, "", "", "", 137},
		{"no such program", []string{"no-such-program"}, "", "", "Can't exec \"no-such-program\"", 127},
		{"a child that keeps the output open", []string{"sh", "-c", "sleep 3 & echo started"}, "", "started\n", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			start := time.Now()
			status, err := converse(line, c.argv, strings.NewReader(c.input), &stdout, &stderr)
			if err != nil || status != c.status || stdout.String() != c.output || !strings.HasPrefix(stderr.String(), c.error) || c.error == "" && stderr.Len() > 0 {
				t.Errorf("status %d, output %.80q, error output %.80q, %v", status, stdout.String(), stderr.String(), err)
			}
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// rawTerminal makes a pseudo-terminal that changes nothing on its way, and returns its near end and the name of the other.
func rawTerminal(t *testing.T) (near *os.File, far string) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { near.Close() })
	fd := int(near.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	settings, err2 := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil || err2 != nil {
		t.Skip("no pseudo-terminals: ", err, err2)
	}
	settings.Iflag, settings.Oflag, settings.Lflag = 0, 0, 0
	settings.Cc[unix.VMIN], settings.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, settings); err != nil {
		t.Skip(err)
	}
	return near, fmt.Sprintf("/dev/pts/%d", n)
}
