// Package probestest holds every probe to what the contract asks of it on a machine that does not answer as expected.
package probestest

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

// Conform runs each probe on a machine that has nothing, on one that permits nothing, and on a recording of this machine: as it
// is, and with every file and output cut short. A probe must answer or say why not; it must not panic; where nothing could be
// read it must not claim to know anything; and of a recording it must say what it said of the machine.
func Conform(t *testing.T, list []probes.Probe[host.Host]) {
	if err := probes.Validate(list); err != nil {
		t.Fatal(err)
	}
	t.Run("empty", func(t *testing.T) { run(t, list, hosttest.Empty()) })
	t.Run("denied", func(t *testing.T) {
		snap := run(t, list, hosttest.Denied())
		for i, o := range snap.Observations {
			switch o.Status {
			case probes.Nothing:
				t.Errorf("%s: says that the machine has none (%s), but it was not allowed to look", o.Probe, o.Reason)
			case probes.OK:
				info := list[i].Info()
				for _, path := range known(info.Name, info.Facts, &o.Facts) {
					t.Errorf("%s is known, though nothing could be read", path)
				}
			}
		}
	})
	recording, differ := record(t, list)
	t.Run("replayed", func(t *testing.T) {
		for range 2 { // two probes may read the same file, and what is recorded is what the first read: a machine on which much happens differs
			if len(differ) == 0 {
				return
			}
			_, again := record(t, list)
			maps.DeleteFunc(differ, func(probe, _ string) bool { return again[probe] == "" })
		}
		for _, why := range differ {
			t.Error(why)
		}
	})
	for _, keep := range []int{0, 100, 500, 900, 990} {
		t.Run(fmt.Sprintf("truncated to %d‰", keep), func(t *testing.T) { run(t, list, hosttest.Truncated(recording, keep)) })
	}
}

// record makes a recording of this machine, and says of each probe that reads it otherwise than it read the machine how.
func record(t *testing.T, list []probes.Probe[host.Host]) (recording *hosttest.Host, differ map[string]string) {
	t.Helper()
	recorder := hosttest.Record(&host.Local{Offline: true})
	live := run(t, list, recorder)
	recording, err := hosttest.Parse(recorder.Format())
	if err != nil {
		t.Fatal(err)
	}
	return recording, differences(list, live, run(t, list, recording))
}

// differences compares what was said of the machine with what was said of its recording. Rates differ by how exactly a second was
// waited for, so of probes with rates only the status counts.
func differences(list []probes.Probe[host.Host], live, replayed *probes.Snapshot) map[string]string {
	differ := map[string]string{}
	for i := range live.Observations {
		a, b, info := &live.Observations[i], &replayed.Observations[i], list[i].Info()
		if a.Status != b.Status {
			differ[a.Probe] = fmt.Sprintf("%s: %s (%s), and of its recording %s (%s)", a.Probe, a.Status, a.Reason, b.Status, b.Reason)
		} else if !info.Sampled && !a.Facts.Equal(&b.Facts) {
			differ[a.Probe] = fmt.Sprintf("%s: the facts of its recording differ\nlive     %s\nreplayed %s", a.Probe,
				info.Facts.AppendJSON(nil, &a.Facts), info.Facts.AppendJSON(nil, &b.Facts))
		}
	}
	return differ
}

func run(t *testing.T, list []probes.Probe[host.Host], h host.Host) *probes.Snapshot {
	t.Helper()
	r := probes.Runner[host.Host]{Source: h, Probes: list, Clock: h}
	if can := h.Can(); can.Root {
		r.Can |= probes.Root
		if can.Network {
			r.Can |= probes.Network
		}
	}
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
