package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int64) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte("content\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if size > 0 {
			if err := os.Truncate(name, size); err != nil {
				t.Fatal(err)
			}
		}
		return name
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		size int
		err  error
	}{
		{write("small", 0), 8, nil},
		{write("two buffers", 130<<10), 130 << 10, nil},
		{write("largest", MaxFile), MaxFile, nil},
		{write("too large", 2*MaxFile+1), 0, ErrTooLarge},
		{fifo, 0, nil}, // nobody writes, and it must not wait for somebody to
		{dir, 0, syscall.EISDIR},
		{filepath.Join(dir, "missing"), 0, fs.ErrNotExist},
	} {
		got, err := (&Local{}).ReadFile(tt.name)
		if len(got) != tt.size || !errors.Is(err, tt.err) {
			t.Errorf("ReadFile(%s) = %d bytes, %v; want %d, %v", filepath.Base(tt.name), len(got), err, tt.size, tt.err)
		}
		if err == nil && tt.size > 0 && !strings.HasPrefix(string(got), "content\n") {
			t.Errorf("ReadFile(%s) begins with %q", filepath.Base(tt.name), got[:8])
		}
	}
	tail, err := (&Local{}).ReadTail(write("log", 0), 4)
	if string(tail) != "ent\n" || err != nil {
		t.Errorf("ReadTail = %q, %v", tail, err)
	}
	if tail, err = (&Local{}).ReadTail(filepath.Join(dir, "log"), 100); string(tail) != "content\n" || err != nil {
		t.Errorf("ReadTail of a short file = %q, %v", tail, err)
	}
}

func TestReadFileOfProc(t *testing.T) {
	got, err := (&Local{}).ReadFile("/proc/self/stat")
	if err != nil || !strings.HasPrefix(string(got), strconv.Itoa(os.Getpid())+" (") {
		t.Errorf("/proc/self/stat: %.20q, %v", got, err)
	}
}

// TestReadFileOfAttributes compares every attribute that can be read with what reading to the end gives.
func TestReadFileOfAttributes(t *testing.T) {
	compared := 0
	for _, dir := range []string{"/proc/sys/kernel", "/proc/sys/net/ipv4", "/proc/sys/vm", "/sys/class/net/lo", "/sys/kernel/mm", "/sys/firmware/dmi/tables", "/sys/block"} {
		_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // what cannot be listed is not compared
			}
			before, err1 := os.ReadFile(name)
			got, err := (&Local{}).ReadFile(name)
			after, err2 := os.ReadFile(name)
			if err1 != nil || err2 != nil || !bytes.Equal(before, after) {
				return nil //nolint:nilerr // write-only, or it moves
			}
			if compared++; err != nil || !bytes.Equal(got, before) {
				t.Errorf("%s: %q, %v; want %q", name, got, err, before)
			}
			return nil
		})
	}
	if compared == 0 {
		t.Skip("nothing to compare: no /proc/sys and no /sys")
	}
}

func TestStatfs(t *testing.T) {
	st, err := (&Local{}).Statfs(t.Context(), "/")
	if err != nil || st.Size == 0 || st.Free > st.Size || st.Avail > st.Free {
		t.Errorf("statfs /: %+v, %v", st, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Local{}).Statfs(ctx, "/proc"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestAttributes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if sum, err := (&Local{}).MD5(name); err != nil || sum != "9a0364b9e99bb480dd25e1f0284c8555" {
		t.Errorf("md5: %s, %v", sum, err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if a, err := (&Local{}).Attributes(name); errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	} else if err != nil || a.Immutable || a.AppendOnly {
		t.Errorf("a plain file: %+v, %v", a, err)
	}
	set := func(flags int) error { return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags) }
	if err := set(immutableFlag); err != nil {
		t.Skipf("setting it: %v", err)
	}
	a, err := (&Local{}).Attributes(name)
	if err != nil || !a.Immutable || a.AppendOnly {
		t.Errorf("an immutable file: %+v, %v", a, err)
	}
	if err := set(0); err != nil {
		t.Error(err)
	}
	if _, err := (&Local{}).Attributes(name + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, argv := range [][]string{
		{"sh", "-c", "id"},
		{"systemctl", "restart", "ssh"},
		{"sshd"},
		{"sshd", "-t", "-f", "/tmp/x"},
		{"nft", "-j", "list"},
		{"nft", "flush", "ruleset"},
		{"/usr/sbin/sshd", "-t"},
	} {
		if _, err := (&Local{}).Run(t.Context(), argv...); !errors.Is(err, ErrNotAllowed) {
			t.Errorf("Run(%q): %v; want it refused", argv, err)
		}
	}
}

func TestExecute(t *testing.T) {
	t.Setenv("HOSTMEND_SECRET", "hush")
	out, err := execute(t.Context(), "/bin/sh", maxOutput, "-c", "env; echo oops >&2; pwd; exit 7")
	if err != nil || out.Exit != 7 || string(out.Stderr) != "oops\n" {
		t.Errorf("%+v, %v", out, err)
	}
	if s := string(out.Stdout); strings.Contains(s, "hush") || !strings.Contains(s, "LC_ALL=C") || !strings.HasSuffix(s, "\n/\n") {
		t.Errorf("environment and directory are not the fixed ones:\n%s", s)
	}
	if out, err = execute(t.Context(), "/bin/sh", maxOutput, "-c", "kill -9 $$"); err != nil || out.Exit != 128+9 {
		t.Errorf("killed: %+v, %v", out, err)
	}
	if _, err = execute(t.Context(), "/bin/sh", maxOutput, "-c", "yes"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("endless output: %v", err)
	}
}

// TestExecuteKillsChildren has a command whose child keeps the pipe open.
func TestExecuteKillsChildren(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := execute(ctx, "/bin/sh", maxOutput, "-c", "sleep 60 & echo $! >"+pidFile+"; wait")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v; want the time-out", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("came back after %s", took)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break // gone, or waiting for whoever reaps orphans
		}
		if time.Now().After(deadline) {
			t.Fatalf("the child %d still runs: %s", pid, stat)
		}
	}
}

func TestGiveUp(t *testing.T) {
	l := &Local{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	release := make(chan struct{})
	var calls atomic.Int32
	stuck := func() (int, error) { calls.Add(1); <-release; return 7, nil }
	if _, err := giveUp(ctx, l, "asking", 0, stuck); !errors.Is(err, context.Canceled) {
		t.Errorf("given up with %v", err)
	}
	if _, err := giveUp(t.Context(), l, "asking", 0, stuck); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("asked again while stuck: %v", err)
	}
	close(release)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		v, err := giveUp(t.Context(), l, "asking", 0, func() (int, error) { return 8, nil })
		if err == nil && v == 8 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d, %v after the first call came back", v, err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
	if v, err := giveUp(ctx, l, "other", time.Minute, func() (int, error) { return 9, nil }); v != 9 || err != nil {
		t.Errorf("%d, %v within the grace", v, err)
	}
}

func TestBeneath(t *testing.T) {
	dir := t.TempDir() + "/point"
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(dir+"/kept", []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	// What nothing is mounted on is beneath itself.
	b, err := (&Local{}).Beneath(dir)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil || !b.Mode.IsDir() || !slices.Equal(b.Entries, []string{"kept"}) {
		t.Errorf("%+v, %v", b, err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	b, err = (&Local{}).Beneath(dir)
	if err != nil || !slices.Equal(b.Entries, []string{"kept"}) {
		t.Errorf("below a mount: %+v, %v", b, err)
	}
	if f, err := (&Local{}).Beneath(dir + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v, %v", f, err)
	}
}
