package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mainEnv makes this test run as the program lab, so that a test can end it as a person or a CI system would.
const mainEnv = "HOSTMEND_LAB_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" || os.Getenv(roleEnv)+os.Getenv(enterEnv)+os.Getenv(monitorEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

// openLab skips where no lab is possible, and fails there in CI, which has all it takes.
func openLab(t *testing.T) Image {
	t.Helper()
	if testing.Short() {
		t.Skip("boots hosts: not in short mode")
	}
	if err := Possible(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if err := sweep(t.Context(), DefaultCache()); err != nil {
		t.Fatal(err)
	}
	image, err := OpenImage(t.Context(), DefaultCache(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// TestFaults is the lab's promise to the project, as much of it as a few minutes hold: hostmend names faults of every area rightly,
// first in its list, and finds nothing on a healthy host, however sick it looks. `make lab` tries them all.
func TestFaults(t *testing.T) {
	lab := &Lab{Image: openLab(t), Hostmend: buildHostmend(t)}
	// A test that runs into its time limit is cut off without cleaning up; end the hosts before, and say which.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	t.Cleanup(stop)
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-5*time.Second))
		t.Cleanup(cancel)
	}
	faults := fastPart(t)
	for i, trial := range lab.TryAll(ctx, faults, runtime.NumCPU()+1, func() {}) {
		t.Run(faults[i].ID, func(t *testing.T) {
			if trial.Outcome == Failed { // a busy machine's; it says nothing of hostmend, so ask once more, alone
				t.Log(trial.Note)
				trial = lab.Try(ctx, faults[i])
			}
			t.Logf("%.1f s", trial.Total)
			switch trial.Outcome {
			case First:
			case Skipped:
				t.Skip(trial.Note)
			default:
				t.Errorf("%s: %s\nexpected %s, got %v (exit %d) %s\n%s",
					faults[i].Title, trial.Outcome, trial.Expect, trial.Findings, trial.Exit, trial.Note, trial.Output)
			}
		})
	}
}

// fastPart is every decoy and two doubles and 26 faults that the score calls right, of all areas alike: one area after the other
// gives its next, in the order of a hash, so that a new fault changes little. Virtual machines take too long.
func fastPart(t *testing.T) []Fault {
	t.Helper()
	s, err := readScore("../docs/score.json")
	if err != nil {
		t.Fatal(err)
	}
	all, err := LoadFaults(".", Faults, Frozen, Learnt, Doubles, Decoys)
	if err != nil {
		t.Fatal(err)
	}
	hash := func(f Fault) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(f.ID))) }
	slices.SortFunc(all, func(a, b Fault) int { return strings.Compare(hash(a), hash(b)) })
	var part []Fault
	byArea := map[string][]Fault{}
	for _, f := range all {
		right := slices.ContainsFunc(s.Trials, func(t Trial) bool { return t.Fault == f.ID && t.Outcome == First })
		switch {
		case f.Machine != Container:
		case f.Kind == Decoys:
			part = append(part, f)
		case f.Kind == Doubles && right:
			byArea["doubles"] = append(byArea["doubles"], f)
		case right:
			byArea[area(t, f)] = append(byArea[area(t, f)], f)
		}
	}
	areas := slices.Sorted(maps.Keys(byArea))
	byArea["doubles"] = byArea["doubles"][:min(2, len(byArea["doubles"]))]
	for left := 28; left > 0 && len(areas) > 0; {
		areas = slices.DeleteFunc(areas, func(a string) bool { return len(byArea[a]) == 0 })
		for _, a := range areas[:min(left, len(areas))] {
			part = append(part, byArea[a][0])
			byArea[a] = byArea[a][1:]
			left--
		}
	}
	return part
}

// area is that of the playbook that the fault expects.
func area(t *testing.T, f Fault) string {
	t.Helper()
	playbook, _, _ := strings.Cut(f.Expect[0], "/")
	text, err := os.ReadFile(filepath.Join("../playbooks/library", playbook+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\narea: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

// TestFastPart: CI tries at least 25 faults, of every area, and every decoy that takes no virtual machine.
func TestFastPart(t *testing.T) {
	count, areas := map[Kind]int{}, map[string]int{}
	for _, f := range fastPart(t) {
		count[f.Kind]++
		if f.Kind != Doubles && f.Kind != Decoys {
			areas[area(t, f)]++
		}
	}
	t.Log(count, areas)
	decoys, err := LoadFaults(".", Decoys)
	if err != nil {
		t.Fatal(err)
	}
	decoys = slices.DeleteFunc(decoys, func(f Fault) bool { return f.Machine != Container })
	if count[Faults]+count[Frozen]+count[Learnt] < 25 || len(areas) < 7 || count[Decoys] != len(decoys) || len(decoys) < 14 {
		t.Errorf("%v in areas %v", count, areas)
	}
}

// buildHostmend is the file under test.
func buildHostmend(t *testing.T) string {
	t.Helper()
	hostmend := os.Getenv("HOSTMEND")
	if hostmend == "" {
		hostmend = filepath.Join(t.TempDir(), "hostmend")
		if err := build(t.Context(), hostmend); err != nil {
			t.Fatal(err)
		}
	}
	return hostmend
}

// TestTraceIsSeen holds the lab to its own promise: a fault that is not cleared wholly fails, though the host is healthy.
func TestTraceIsSeen(t *testing.T) {
	lab := &Lab{Image: openLab(t), OracleOnly: true}
	f, err := ParseFault(Faults, "untidy", []byte(`id: untidy
title: sshd was stopped and a file left behind
source: https://example.org/
says: This one is the lab's own.
expect: sshd-not-running
inject: touch /etc/forgotten; systemctl stop ssh
broken: fails login root true
clear: systemctl start ssh
`))
	if err != nil {
		t.Fatal(err)
	}
	trial := lab.Try(t.Context(), f)
	if trial.Outcome != Failed || !strings.Contains(trial.Note, "+etc/forgotten ") {
		t.Errorf("%s: %s", trial.Outcome, trial.Note)
	}
}

// TestUnusableHost: a fault that leaves no host to diagnose says nothing of hostmend, so it is the lab's failure and names what
// went wrong; nothing of the host stays.
func TestUnusableHost(t *testing.T) {
	lab := &Lab{Image: openLab(t), Hostmend: buildHostmend(t)}
	for _, row := range []struct{ name, inject, broken, note string }{
		{"host vanished", "kill -s RTMIN+4 1; sleep 5", "true", "inject: "}, // systemd powers off
		{"host vanished behind the oracle's back", "setsid sh -c 'sleep 1; kill -s RTMIN+4 1' >/dev/null 2>&1 &", "sleep 4; fails login root true", "the oracle sees no trouble"},
		{"nothing can be run", "rm -r /usr/bin", "fails login root true", "hostmend cannot run on this host"},
		{"hostmend is gone", "rm /usr/local/bin/hostmend", "true", "hostmend cannot run on this host"},
		{"inject hangs", "sleep infinity", "true", "inject: gave up after 30s"},
		{"the oracle is dead", "true", "exit 7", "the oracle sees no trouble: not after 20s: exit status 7"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f := Fault{
				Kind: Faults, ID: "unusable", Machine: Container, Expect: Expect{"a"},
				Inject: Script{inHost, row.inject}, Broken: Script{atGateway, row.broken}, Clear: Script{inHost, "true"},
			}
			trial := lab.Try(t.Context(), f)
			if trial.Outcome != Failed || !strings.Contains(trial.Note, row.note) {
				t.Errorf("%s: %s", trial.Outcome, trial.Note)
			}
		})
	}
}

// hangs is a fault in the middle of whose injection a test can end the lab: it says where it is, leaves processes at the gateway
// and in the host that belong to nobody, and hangs.
const hangs = `id: hangs
title: The lab is interrupted
source: https://example.org/
says: This one is the lab's own.
expect: sshd-not-running
inject:
  gateway: |
    setsid sleep infinity >/dev/null 2>&1 &
    host systemd-run --quiet sleep infinity
    readlink /proc/self/ns/net >FILE.unfinished
    host readlink /proc/self/ns/net /proc/self/ns/pid /proc/self/ns/mnt >>FILE.unfinished
    echo "$GROUP" >>FILE.unfinished
    mv FILE.unfinished FILE
    sleep infinity
broken: "true"
clear: "true"
`

// ends is a fault that has come and gone when the lab is interrupted.
const ends = `id: ends
title: Nothing happens
source: https://example.org/
says: This one is the lab's own.
expect: sshd-not-running
inject: "true"
broken: "true"
clear: "true"
`

// TestInterrupted ends a lab in the middle of its work and looks for what it left: on a polite signal nothing, and what was tried
// by then is told; on SIGKILL nothing that lives, and what lies about is gone after the next lab's sweep.
func TestInterrupted(t *testing.T) {
	openLab(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		t.Run(unix.SignalName(signal), func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "marks")
			if err := os.Mkdir(filepath.Join(dir, "faults"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"hangs": strings.ReplaceAll(hangs, "FILE", file), "ends": ends} {
				if err := os.WriteFile(filepath.Join(dir, "faults", name+".yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			table, err := os.Create(filepath.Join(dir, "table"))
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			progress, err := os.Create(filepath.Join(dir, "progress"))
			if err != nil {
				t.Fatal(err)
			}
			defer progress.Close()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-dir", dir, "-oracle-only")
			cmd.Env = append(os.Environ(), mainEnv+"=1")
			cmd.Stdout, cmd.Stderr = table, progress
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var marks []string
			if err := until(t.Context(), time.Minute, func() error {
				select {
				case err := <-ended:
					return permanent{fmt.Errorf("the lab ended by itself: %w", err)}
				default:
				}
				if dots, err := os.ReadFile(progress.Name()); err != nil || !strings.Contains(string(dots), ".") {
					return errors.Join(errors.New("nothing was tried yet"), err)
				}
				text, err := os.ReadFile(file)
				marks = strings.Fields(string(text))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if before := traces(marks); len(before) < 20 {
				t.Fatalf("a running host should be seen: %v", before)
			}

			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			t.Log(<-ended)
			if text, err := os.ReadFile(table.Name()); err != nil || signal != syscall.SIGKILL && !strings.Contains(string(text), "\nends ") {
				t.Errorf("what was tried before the signal is lost: %q, %v", text, err)
			}
			err = until(t.Context(), 10*time.Second, func() error {
				if signal == syscall.SIGKILL {
					if err := sweep(t.Context(), DefaultCache()); err != nil {
						return err
					}
				}
				if left := traces(marks); len(left) > 0 {
					return fmt.Errorf("left behind: %v", left)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// traces lists what there is of a host, by its marks, the names of its namespaces and of its directory: processes, namespaces,
// loop devices, mounts, control groups, files.
func traces(marks []string) (found []string) {
	marked := func(text string) bool {
		return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(text, mark) })
	}
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/ns/pid", "/proc/[0-9]*/ns/mnt"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if name, err := os.Readlink(file); err == nil && marked(name) {
				found = append(found, file)
			}
		}
	}
	for _, pattern := range []string{"/proc/[0-9]*/cgroup", "/proc/[0-9]*/cmdline", "/sys/block/loop*/loop/backing_file", "/proc/self/mountinfo"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && marked(string(text)) {
				found = append(found, file)
			}
		}
	}
	group := marks[len(marks)-1]
	for _, pattern := range []string{"/sys/fs/cgroup/" + group, "/sys/fs/cgroup/*/" + group, DefaultCache() + "/" + group} {
		names, _ := filepath.Glob(pattern)
		found = append(found, names...)
	}
	return found
}

// TestFrozen: nothing of a frozen fault changes once it was diagnosed, and of one that is learnt only what it expects, since the playbook
// may be new: there SHA256SUMS has what `sed '/^expect:/d' FILE | sha256sum` says.
func TestFrozen(t *testing.T) {
	for _, kind := range []Kind{Frozen, Learnt} {
		t.Run(string(kind), func(t *testing.T) { unchanged(t, string(kind)) })
	}
}

func unchanged(t *testing.T, directory string) {
	expectation := regexp.MustCompile(`(?m)^expect:.*\n`)
	sums, err := os.ReadFile(filepath.Join(directory, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if directory == string(Learnt) {
			text = expectation.ReplaceAll(text, nil)
		}
		if line := fmt.Sprintf("%x  %s\n", sha256.Sum256(text), filepath.Base(file)); !strings.Contains(string(sums), line) {
			t.Errorf("%s is not what it was when it was frozen", file)
		}
	}
	if lines := strings.Count(string(sums), "\n"); lines != len(files) {
		t.Errorf("SHA256SUMS has %d lines for %d files", lines, len(files))
	}
}

// TestFaultFiles holds what is written down about faults to its form; the lab itself needs a machine that can have one.
func TestFaultFiles(t *testing.T) {
	faults, err := LoadFaults(".", kinds...)
	if err != nil {
		t.Error(err)
	}
	count := map[Kind]int{}
	for _, f := range faults {
		count[f.Kind]++
	}
	if count[Faults] < 20 || count[Decoys] < 2 {
		t.Errorf("%d faults and %d decoys: the score promises 20 and 2", count[Faults], count[Decoys])
	}
}

func TestParseFault(t *testing.T) {
	const valid = `id: disk-full
title: The disk is full
source: https://example.org/disk
says: Disks fill.
expect: filesystem-full//data
inject: touch /a
broken: host test -e /a
clear: {gateway: host rm /a}
`
	f, err := ParseFault(Faults, "disk-full", []byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	want := []Script{{inHost, "touch /a"}, {atGateway, "host test -e /a"}, {atGateway, "host rm /a"}}
	if diff := cmp.Diff(want, []Script{f.Inject, f.Broken, f.Clear}); diff != "" {
		t.Error(diff)
	}
	for _, row := range []struct{ from, to, problem string }{
		{"id: disk-full", "id: disk-ful", `id: is "disk-ful", but the file is called "disk-full"`},
		{"id: disk-full", "id: Disk Full", "not lower-case words"},
		{"title: The disk is full", "title:", "title: say in one line"},
		{"https:", "http:", "source: "},
		{"source: https://example.org/disk", "source:", "source: "},
		{"says: Disks fill.", "", "says: tell"},
		{"expect: filesystem-full//data", "expect: Full", `expect: "Full" is neither`},
		{"expect: filesystem-full//data", "expect: nothing", "is one of the decoys"},
		{"expect: filesystem-full//data", "expect: [filesystem-full, inodes-full]", "expect: one finding"},
		{"expect: filesystem-full//data", "expect: {a: b}", "expect"},
		{"inject: touch /a", "", "inject: missing"},
		{"inject: touch /a", "injekt: touch /a", "injekt"},
		{"clear: {gateway: host rm /a}", "clear: {moon: rm}", "has one key, host or gateway"},
		{"clear: {gateway: host rm /a}", "clear: {gateway: a, host: b}", "has one key, host or gateway"},
		{"clear: {gateway: host rm /a}", "clear: [rm]", "clear"},
		{"says:", "machine: moon\nsays:", `machine: "moon" is neither container nor vm`},
		{"says:", "needs: [proc/sys]\nsays:", `needs: "proc/sys" is not an absolute path`},
		{"id: disk-full", "id: disk-full\nid: disk-full", "id"},
	} {
		_, err := ParseFault(Faults, "disk-full", []byte(strings.Replace(valid, row.from, row.to, 1)))
		if err == nil || !strings.Contains(err.Error(), row.problem) {
			t.Errorf("%q for %q: got %v, want %q", row.to, row.from, err, row.problem)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, row := range []struct {
		expect, findings string
		want             Outcome
	}{
		{"a", "warning a", First},
		{"a", "warning a/x, warning b", First},
		{"a/x", "warning a/x", First},
		{"a/x", "warning a/y", Wrong},
		{"a/x", "warning b, warning a/x", InThree},
		{"a", "warning b, warning c, warning d, warning a", Wrong},
		{"a", "warning b", Wrong},
		{"a", "info b", Missed},
		{"a", "", Missed},
		{"a b/x", "warning b/x, info a", First},
		{"a b", "warning b, warning c, warning a", InThree},
		{"a b", "warning b, warning c, warning d, warning a", Wrong},
		{"a b", "warning b", Wrong},
		{"a b", "", Missed},
		{Nothing, "", First},
		{Nothing, "info a", First},
		{Nothing, "info a, warning b", Wrong},
	} {
		var findings []Finding
		for finding := range strings.SplitSeq(row.findings, ", ") {
			if severity, name, ok := strings.Cut(finding, " "); ok {
				playbook, object, _ := strings.Cut(name, "/")
				findings = append(findings, Finding{Playbook: playbook, Object: object, Severity: severity})
			}
		}
		if got := judge(strings.Fields(row.expect), findings); got != row.want {
			t.Errorf("expected %s, found %q: %s, want %s", row.expect, row.findings, got, row.want)
		}
	}
}

func TestDifference(t *testing.T) {
	if got, want := difference("a\nb\nc\n", "a\nc\nd\n"), "-b\n+d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	trials := []Trial{{Kind: Faults, Outcome: First}, {Kind: Faults, Outcome: Skipped}, {Kind: Scenes, Outcome: Missed}}
	var out strings.Builder
	if table(&out, trials) != true {
		t.Error("a right answer, a skipped fault and what is not scored are no failure")
	}
	if text := out.String(); !strings.Contains(text, "2 faults: 1 first 1 skipped") {
		t.Error(text)
	}
	for _, o := range []Outcome{InThree, Wrong, Missed, Failed} {
		if table(io.Discard, append(trials, Trial{Kind: Frozen, Outcome: o})) {
			t.Errorf("%s is a failure", o)
		}
	}
}

// TestExpectByKind: what a file may expect depends on its directory.
func TestExpectByKind(t *testing.T) {
	for _, row := range []struct {
		kind   Kind
		expect Expect
		want   string
	}{
		{Doubles, Expect{"a", "b/x"}, ""},
		{Doubles, Expect{"a"}, "a list of two"},
		{Doubles, Expect{"a", Nothing}, "one of the decoys"},
		{Decoys, Expect{Nothing}, ""},
		{Decoys, Expect{"a"}, "a decoy is healthy"},
		{Frozen, Expect{"a"}, ""},
		{Scenes, Expect{Nothing}, "one of the decoys"},
		{Faults, nil, "one finding"},
	} {
		if got := row.expect.problem(row.kind); !strings.Contains(got, row.want) || (got == "") != (row.want == "") {
			t.Errorf("%s in %s: %q, want %q", row.expect, row.kind, got, row.want)
		}
	}
}

// The NTP timestamp of a moment is checked against RFC 5905's own example: 1 January 1970 is 2,208,988,800 s after 1900.
func TestPutTime(t *testing.T) {
	b := make([]byte, 8)
	putTime(b, time.Unix(1, 500_000_000))
	if got, want := fmt.Sprintf("%x", b), strconv.FormatInt(2208988801, 16)+"80000000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
