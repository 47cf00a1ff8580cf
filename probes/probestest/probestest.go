// Package probestest holds every probe to what the contract asks of it on a machine that does not answer as expected.
package probestest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

// Conform runs each probe on a machine that has nothing, one that permits nothing, and captures of which every file and
// output is cut short. A probe must answer or say why not; it must not panic, and where nothing could be read it must not
// claim to know anything.
func Conform(t *testing.T, list []probes.Probe[host.Host], captures ...string) {
	if err := probes.Validate(list); err != nil {
		t.Fatal(err)
	}
	t.Run("empty", func(t *testing.T) { run(t, list, hosttest.Empty()) })
	t.Run("denied", func(t *testing.T) {
		snap := run(t, list, hosttest.Denied())
		for i, o := range snap.Observations {
			switch {
			case o.Status == probes.Nothing:
				t.Errorf("%s: says that the machine has none (%s), but it was not allowed to look", o.Probe, o.Reason)
			case o.Status == probes.OK:
				info := list[i].Info()
				for _, path := range known(info.Name, info.Facts, &o.Facts) {
					t.Errorf("%s is known, though nothing could be read", path)
				}
			}
		}
	})
	for _, file := range captures {
		h, err := hosttest.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, keep := range []int{0, 100, 500, 900, 990} {
			t.Run(fmt.Sprintf("truncated to %d‰", keep), func(t *testing.T) { run(t, list, hosttest.Truncated(h, keep)) })
		}
	}
}

func run(t *testing.T, list []probes.Probe[host.Host], h host.Host) *probes.Snapshot {
	t.Helper()
	r := probes.Runner[host.Host]{Source: h, Probes: list, Can: probes.Root | probes.Network, Clock: h}
	snap := r.Run(t.Context(), nil)
	for _, o := range snap.Observations {
		if strings.Contains(o.Reason, "[unexpected]") {
			t.Errorf("%s: %s", o.Probe, o.Reason)
		}
		if o.Status != probes.OK && o.Reason == "" {
			t.Errorf("%s: %s without a reason", o.Probe, o.Status)
		}
	}
	return snap
}

// known lists the paths of the facts that have a value.
func known(path string, t *probes.Type, v *probes.Value) []string {
	switch v.Kind() {
	case probes.Absent, probes.Unreadable:
		return nil
	case probes.Struct:
		var paths []string
		for i, f := range t.Fields {
			paths = append(paths, known(path+"."+f.Name, f.Type, v.At(i))...)
		}
		return paths
	case probes.Map:
		var paths []string
		for i, key := range v.Keys() {
			paths = append(paths, known(fmt.Sprintf("%s[%q]", path, key), t.Elem, v.At(i))...)
		}
		return paths
	default: // a list too: an empty one says that there are none
		return []string{path}
	}
}
