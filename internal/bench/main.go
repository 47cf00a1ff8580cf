// Command bench measures the figures that hostmend is held to, beside its peers in the same run, and writes docs/benchmarks.md.
// CPU time is the main measure, for wall time is noisy on small machines. A figure whose peer or right is missing is printed as
// not measured, with the reason; it is never left out.
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	out := flag.String("o", "docs/benchmarks.md", "file to write")
	binary := flag.String("binary", "bin/hostmend", "the hostmend to measure")
	only := flag.String("only", "", "measure only figures whose name holds this, and print instead of writing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out, *binary, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, binary, only string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	m := &machine{ctx: ctx, binary: binary}
	var rows []row
	for _, f := range figures {
		if !strings.Contains(f.name, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", f.name)
		r, err := f.measure(m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.figure = f
		if err != nil {
			r = notMeasured(f, err)
		}
		rows = append(rows, r)
		fmt.Fprintln(os.Stderr, "  "+r.String())
	}
	if only != "" {
		return nil
	}
	return os.WriteFile(out, page(rows), 0o644)
}

// figure is something that was promised.
type figure struct {
	name  string
	goal  string  // as it was promised, in words
	limit float64 // the most that measured may be, in unit
	unit  string
	// measure returns a row with measured, peers and note.
	measure func(*machine) (row, error)
}

// row is a figure measured.
type row struct {
	figure
	measured float64
	ok       bool     // measured at all
	peers    []string // "node_exporter 1.5.0: 12.1 ms"
	note     string
	cost     string // what is known to cost most, for the page to name when the figure is missed
}

// notMeasured is the row of a figure that could not be measured; a reason of several lines would break the table.
func notMeasured(f figure, err error) row {
	return row{figure: f, note: strings.Join(strings.Fields(err.Error()), " ")}
}

func (r row) verdict() string {
	switch {
	case !r.ok:
		return "not measured"
	case r.measured <= r.limit:
		return "met"
	default:
		return "**missed**"
	}
}

func (r row) value() string {
	if !r.ok {
		return "—"
	}
	return fmt.Sprintf("%.3g %s", r.measured, r.unit)
}

// remark is the note, and for a figure that was missed the reason.
func (r row) remark() string {
	if !r.ok || r.measured <= r.limit {
		return r.note
	}
	return strings.TrimPrefix(r.note+"; missed: "+cmp.Or(r.cost, "the reason is not known"), "; ")
}

func (r row) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s (%s) %s; %s", r.verdict(), r.value(), r.goal, strings.Join(r.peers, ", "), r.remark()))
}

func page(rows []row) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench` on %s, %d CPUs, %s. Goals are those of the project; peers were measured in the same run.\n"+
		"CPU time is user and system together.\n\n", runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	b.WriteString("| figure | goal | measured | | peers in the same run | remarks |\n|---|---|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.name, r.goal, r.value(), r.verdict(), strings.Join(r.peers, "; "), r.remark())
	}
	return b.Bytes()
}

// machine is what figures are measured with.
type machine struct {
	ctx       context.Context
	binary    string
	diagnoses []usage             // of the one-shot, once measured
	cached    map[string][]sample // Go benchmarks by package and pattern
}

// usage is what one run of a command cost.
type usage struct {
	wall time.Duration
	cpu  time.Duration
	peak int64 // bytes
}

// command runs argv and measures it; exit statuses up to 4 are answers of hostmend.
func (m *machine) command(argv ...string) (usage, error) {
	cmd := exec.CommandContext(m.ctx, argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(began)}
	if cmd.ProcessState == nil {
		return u, err
	}
	if code := cmd.ProcessState.ExitCode(); code == 2 || code < 0 || code > 4 {
		return u, fmt.Errorf("%s: exit %d: %s", strings.Join(argv, " "), code, firstLine(stderr.String()))
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	u.peak = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10 // KiB: getrusage(2)
	return u, nil
}

// repeat measures n runs after one that warms the caches.
func (m *machine) repeat(n int, argv ...string) ([]usage, error) {
	var all []usage
	for i := range n + 1 {
		u, err := m.command(argv...)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			all = append(all, u)
		}
	}
	return all, nil
}

func median[T cmp.Ordered](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

func column[T any](all []usage, f func(usage) T) []T {
	col := make([]T, len(all))
	for i, u := range all {
		col[i] = f(u)
	}
	return col
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root")
	}
	return nil
}
