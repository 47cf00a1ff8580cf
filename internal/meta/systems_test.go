package meta

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/probes/linux"
	"github.com/hostmend/hostmend/probes/network"
)

// TestSystems runs every probe on captures of whole hosts, and on the same hosts as an old kernel would have shown them, so that
// nothing depends on the shape of one machine. Beside each capture NAME.txtar lies NAME.want: what came of each probe. -update
// writes it; read the difference, above all each line that begins with `failed`.
func TestSystems(t *testing.T) {
	captures, err := filepath.Glob("testdata/systems/*.txtar")
	if err != nil || len(captures) < 3 {
		t.Fatalf("%d captures, and there should be three at least: %v", len(captures), err)
	}
	for _, file := range captures {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(file, ".txtar")
		t.Run(filepath.Base(name), func(t *testing.T) { wantOutcomes(t, name+".want", string(text)) })
		if !strings.HasSuffix(name, "debian-12") {
			continue
		}
		for _, old := range ages {
			t.Run(old.name, func(t *testing.T) {
				wantOutcomes(t, filepath.Join("testdata/systems", old.name+".want"), old.age(string(text)))
			})
		}
	}
}

// wantOutcomes compares what came of each probe on a captured host with the file want.
func wantOutcomes(t *testing.T, want, capture string) {
	h, err := hosttest.Parse([]byte(capture))
	if err != nil {
		t.Fatal(err)
	}
	r := probes.Runner[host.Host]{Source: h, Probes: slices.Concat(linux.Probes(), network.Probes()), Can: probes.Root | probes.Network, Clock: h}
	snap := r.Run(t.Context(), nil)
	var b strings.Builder
	for i, o := range snap.Observations {
		info := r.Probes[i].Info()
		fmt.Fprintf(&b, "%-7s %s %s\n", o.Status, o.Probe, o.Reason)
		for _, path := range unreadable(o.Probe, info.Facts, &o.Facts) {
			fmt.Fprintf(&b, "        unreadable %s\n", path)
		}
	}
	got := b.String()
	if *update {
		if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	wanted, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(wanted), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", want, diff)
	}
}

// unreadable lists the facts that could not be found out, with the reason; of a list's elements each only once.
func unreadable(path string, t *probes.Type, v *probes.Value) []string {
	var paths []string
	var walk func(path string, t *probes.Type, v *probes.Value)
	walk = func(path string, t *probes.Type, v *probes.Value) {
		switch v.Kind() {
		case probes.Unreadable:
			if line := path + ": " + v.Reason(); !slices.Contains(paths, line) {
				paths = append(paths, line)
			}
		case probes.Struct:
			for i, f := range t.Fields {
				walk(path+"."+f.Name, f.Type, v.At(i))
			}
		case probes.List:
			for i := range v.Len() {
				walk(path+"[]", t.Elem, v.At(i))
			}
		case probes.Map:
			for i := range v.Keys() {
				walk(path+"[…]", t.Elem, v.At(i))
			}
		}
	}
	if v.Kind() != probes.Unreadable { // the probe's own status says so
		walk(path, t, v)
	}
	return paths
}
