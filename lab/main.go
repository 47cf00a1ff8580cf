// Command lab makes disposable hosts, breaks them in ways that public sources describe, and sees whether hostmend names each
// fault. An oracle that knows nothing of hostmend says when a host is broken and when it is whole again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	if launcher := os.Getenv(roleEnv); launcher != "" {
		exit(serveGateway(context.Background(), launcher))
	}
	if dir := os.Getenv(enterEnv); dir != "" {
		status, err := enterVM(context.Background(), dir, os.Args[1:])
		if err != nil {
			exit(err)
		}
		os.Exit(status)
	}
	if dir := os.Getenv(monitorEnv); dir != "" {
		answer, err := askMonitor(context.Background(), dir, strings.Join(os.Args[1:], " "))
		fmt.Print(answer)
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	exit(run(ctx, os.Args[1:], os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	dir := flags.String("dir", "lab", "`directory` with a directory for each kind of fault")
	kind := flags.String("kind", "", "only these kinds of faults, a `list` with commas (default: all)")
	only := flags.String("run", "", "only faults whose id matches this `regexp`")
	oracleOnly := flags.Bool("oracle-only", false, "inject and clear without a diagnosis: do the oracles see each fault come and go?")
	parallel := flags.Int("parallel", runtime.NumCPU()+1, "hosts at once; one more than there are processors, since booting and clearing are mostly waiting")
	repeat := flags.Int("repeat", 1, "diagnose the healthy host so many `times`, and each decoy a tenth as often")
	captures := flags.String("capture", "", "keep a capture of each broken host, as FAULT.txtar in this `directory`")
	stories := flags.String("stories", "", "with -capture: make stories from life of playbooks that were right and have none, in this `library`")
	answers := flags.String("json", "", "also write the table as JSON to this `file`, with hostmend's whole answer where it was not right")
	score := flags.String("score", "", "also write the score to this `file.md`, and as JSON beside it; a wrong answer is then no error")
	shell := flags.Bool("shell", false, "start a healthy host and a shell in it; the host ends with the shell")
	asVM := flags.Bool("vm", false, "with -shell: a virtual machine")
	hostmend := flags.String("hostmend", os.Getenv("HOSTMEND"), "the `program` under test, a static one (default: build ./cmd/hostmend)")
	cache := flags.String("cache", DefaultCache(), "`directory` for the image and the hosts")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	chosenKinds, err := parseKinds(*kind)
	if err != nil {
		return err
	}
	if err := Possible(); err != nil {
		return err
	}
	if *captures != "" {
		if err := os.MkdirAll(*captures, 0o755); err != nil {
			return err
		}
	}
	if *hostmend == "" && (!*oracleOnly || *captures != "") {
		*hostmend = filepath.Join("bin", "hostmend")
		if err := build(ctx, *hostmend); err != nil {
			return err
		}
	}
	if err := sweep(ctx, *cache); err != nil {
		return fmt.Errorf("sweeping up after an earlier lab: %w", err)
	}
	image, err := OpenImage(ctx, *cache, out)
	if err != nil {
		return err
	}
	lab := &Lab{Image: image, Hostmend: *hostmend, OracleOnly: *oracleOnly, Repeat: *repeat, Captures: *captures, Stories: *stories}
	if *shell {
		machine := Container
		if *asVM {
			machine = VM
		}
		return lab.Shell(ctx, machine)
	}
	all, err := LoadFaults(*dir, chosenKinds...)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(all, func(f Fault) bool { return !pattern.MatchString(f.ID) })
	trials := lab.TryAll(ctx, chosen, *parallel, func() { fmt.Fprint(os.Stderr, ".") })
	trials = slices.DeleteFunc(trials, func(t Trial) bool { return t.Outcome == "" })
	fmt.Fprintln(os.Stderr)
	right := table(out, trials)
	if *answers != "" {
		if err := writeJSON(*answers, trials); err != nil {
			return err
		}
	}
	if *score != "" {
		if all, err = LoadFaults(*dir, kinds...); err != nil {
			return err
		}
		return errors.Join(measured(context.WithoutCancel(ctx), trials).write(*score, all), ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("after %d of %d: %w", len(trials), len(chosen), err)
	}
	if !right {
		return errors.New("not every fault was named rightly")
	}
	return nil
}

func writeJSON(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// build makes hostmend from this module, static, so that it runs in any image.
func build(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", file, "github.com/hostmend/hostmend/cmd/hostmend")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building hostmend: %w\n%s", err, out)
	}
	return nil
}

// table prints the trials and reports whether all that count are as they should be.
func table(out io.Writer, trials []Trial) bool {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tOUTCOME\tDIAGNOSIS\tTOTAL\tFIRST FINDING")
	for _, t := range trials {
		first := t.Note
		if len(t.Findings) > 0 && t.Outcome != Failed {
			first = t.Findings[0].String()
			if t.Outcome != First {
				first += ", expected " + t.Expect.String()
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f s\t%.1f s\t%s\n", t.Fault, t.Outcome, t.Seconds, t.Total, lastLines(first, 12))
	}
	w.Flush()
	right := true
	for _, kind := range kinds {
		count, all := tally(trials, kind)
		if all == 0 {
			continue
		}
		fmt.Fprintf(out, "%d %s:", all, kind)
		for _, o := range outcomes {
			if count[o] > 0 {
				fmt.Fprintf(out, " %d %s", count[o], o)
			}
		}
		fmt.Fprintln(out)
		if kind == Scenes {
			all -= count[InThree] + count[Wrong] + count[Missed]
		}
		right = right && count[First]+count[Shown]+count[Skipped] == all
	}
	return right
}

// tally counts the outcomes of one kind, and its trials.
func tally(trials []Trial, kind Kind) (count map[Outcome]int, all int) {
	count = map[Outcome]int{}
	for _, t := range trials {
		if t.Kind == kind {
			count[t.Outcome]++
			all++
		}
	}
	return count, all
}

// parseKinds reads a list with commas; an empty one means all.
func parseKinds(list string) ([]Kind, error) {
	if list == "" {
		return kinds, nil
	}
	var chosen []Kind
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(kinds, Kind(name)) {
			return nil, fmt.Errorf("-kind: %q is none of %v", name, kinds)
		}
		chosen = append(chosen, Kind(name))
	}
	return chosen, nil
}
