package linux

import (
	"strconv"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

// observe runs one probe on a captured host.
func observe(t *testing.T, p probes.Probe[host.Host], capture string) probes.Observation {
	t.Helper()
	h, err := hosttest.Parse([]byte(capture))
	if err != nil {
		t.Fatal(err)
	}
	r := probes.Runner[host.Host]{Source: h, Probes: []probes.Probe[host.Host]{p}, Can: probes.Root | probes.Network, Clock: h}
	return r.Run(t.Context(), nil).Observations[0]
}

// wantFacts compares facts with their JSON, by path: "files_open", "cores[cpu0].time.busy_pct"; "(reason)" instead of facts
// wants that none were found, for a reason that holds the text.
func wantFacts(t *testing.T, p probes.Probe[host.Host], o probes.Observation, want map[string]string) {
	t.Helper()
	if text, ok := want["(reason)"]; ok {
		if o.Status == probes.OK || !strings.Contains(o.Reason, text) {
			t.Errorf("%s: %s: %s; want a reason with %q", o.Probe, o.Status, o.Reason, text)
		}
		return
	}
	if o.Status != probes.OK {
		t.Fatalf("%s: %s: %s", o.Probe, o.Status, o.Reason)
	}
	for path, json := range want {
		if got := lookUp(t, path, p.Info().Facts, &o.Facts); got != json {
			t.Errorf("%s.%s = %s, want %s", o.Probe, path, got, json)
		}
	}
}

// lookUp is the JSON of the fact at a path; "none" where a list or map has no such key.
func lookUp(t *testing.T, path string, typ *probes.Type, v *probes.Value) string {
	t.Helper()
	for path != "" {
		if v.Kind() == probes.Absent || v.Kind() == probes.Unreadable {
			break
		}
		if path[0] == '[' { // up to "]." or the end: a key may hold brackets itself
			key, rest, ok := strings.Cut(path[1:], "].")
			if !ok {
				key = strings.TrimSuffix(key, "]")
			}
			path = rest
			typ, v = typ.Elem, elementOf(typ, v, key)
			if v == nil {
				return "none"
			}
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		i := typ.Field(path[:end])
		if i < 0 {
			t.Fatalf("no fact %q in %v", path[:end], typ)
		}
		typ, v, path = typ.Fields[i].Type, v.At(i), strings.TrimPrefix(path[end:], ".")
	}
	return string(typ.AppendJSON(nil, v))
}

func elementOf(typ *probes.Type, v *probes.Value, key string) *probes.Value {
	if typ.Kind == probes.Map {
		return v.Lookup(key)
	}
	k := typ.Elem.KeyField()
	for i := range v.Len() {
		id := string(typ.Elem.Fields[k].Type.AppendJSON(nil, v.At(i).At(k)))
		if strings.Trim(id, `"`) == key {
			return v.At(i)
		}
	}
	return nil
}

// quote is the body of a [quoted] section that holds text as it is, without a final newline of its own.
func quote(text string) string { return strconv.Quote(text) + "\n" }
