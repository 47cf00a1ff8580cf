package probes

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

type mountFacts struct {
	Mount    string        `fact:"mount,key" doc:"where"`
	UsedPct  Opt[float64]  `fact:"used_pct" unit:"%" doc:"how full"`
	Inodes   Opt[int]      `fact:"inodes" unit:"count" doc:"how many"`
	ReadOnly bool          `fact:"read_only" doc:"whether"`
	Age      time.Duration `fact:"age" doc:"since when"`
}

type allFacts struct {
	Mounts []mountFacts   `fact:"mounts" doc:"file systems"`
	Top    Cut[string]    `fact:"top" doc:"the largest"`
	Denied Cut[string]    `fact:"denied" doc:"not for us"`
	Others Cut[string]    `fact:"others" doc:"some not for us"`
	ByName map[string]int `fact:"by_name" unit:"count" doc:"per name"`
	Load   float64        `fact:"load" unit:"1" doc:"load"`
}

func full() allFacts {
	return allFacts{
		Mounts: []mountFacts{
			{Mount: "/", UsedPct: Some(12.5), ReadOnly: true, Age: 90 * time.Second},
			{Mount: "/nfs", UsedPct: Unread[float64]("statfs /nfs: timed out"), Inodes: None[int]()},
		},
		Top:    Cut[string]{All: []string{"a\x1b[31m"}, More: 3},
		Denied: Cut[string]{Why: "needs root"},
		Others: Cut[string]{All: []string{"b"}, More: 1, Why: "no entry"},
		ByName: map[string]int{"b": 2, "a": 1},
		Load:   0.25,
	}
}

func collectFull(context.Context, source) (allFacts, error) { return full(), nil }

func define[T any]() Probe[source] {
	return Define(Probe[source]{Name: "p", Doc: doc}, func(context.Context, source) (v T, err error) { return v, nil })
}

func value(t *testing.T, p Probe[source]) *Value {
	t.Helper()
	if p.err != nil {
		t.Fatal(p.err)
	}
	s := (&Runner[source]{Probes: []Probe[source]{p}}).Run(t.Context(), nil)
	if o := s.Observations[0]; o.Status != OK {
		t.Fatal(o.Reason)
	}
	return &s.Observations[0].Facts
}

func TestValueJSON(t *testing.T) {
	p := Define(Probe[source]{Name: "all", Doc: doc}, collectFull)
	v := value(t, p)
	got := string(p.facts.AppendJSON(nil, v))
	const want = `{"mounts":[` +
		`{"mount":"/","used_pct":12.5,"inodes":null,"read_only":true,"age":"1m30s"},` +
		`{"mount":"/nfs","used_pct":{"unreadable":"statfs /nfs: timed out"},"inodes":null,"read_only":false,"age":"0s"}],` +
		`"top":{"items":["a\u001b[31m"],"more":3},"denied":{"unreadable":"needs root"},"others":{"items":["b"],"more":1,"why":"no entry"},"by_name":{"a":1,"b":2},"load":0.25}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var x any
	if err := json.Unmarshal([]byte(got), &x); err != nil {
		t.Fatal(err)
	}
	back, err := p.facts.Decode(x)
	if err != nil || !back.Equal(v) {
		t.Errorf("decoded again it is %s, %v", p.facts.AppendJSON(nil, &back), err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	facts := Define(Probe[source]{Name: "all", Doc: doc}, collectFull).facts
	for _, tt := range []struct{ json, want string }{
		{`{"mount": []}`, `no fact "mount"; there are [mounts`},
		{`{"mounts": 7}`, "mounts: float64 is not a list"},
		{`{"mounts": [{"mount": 7}]}`, "mounts: [0]: mount: 7 (float64) is not a value of type string"},
		{`{"mounts": [{"age": 7}]}`, "is not a value of type duration"},
		{`{"mounts": [{"inodes": 7.5}]}`, "7.5 (float64) is not a value of type optional int"},
		{`{"load": null}`, "null for float, which is not optional"},
	} {
		var x any
		if err := json.Unmarshal([]byte(tt.json), &x); err != nil {
			t.Fatal(err)
		}
		if _, err := facts.Decode(x); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Decode(%s): %v; want %q", tt.json, err, tt.want)
		}
	}
	v, err := facts.Decode(map[string]any{"mounts": []any{map[string]any{"mount": "/"}}})
	if err != nil {
		t.Fatal(err)
	}
	mount := v.At(0).At(0)
	if mount.At(1).Kind() != Absent || mount.At(3).Kind() != Unreadable || v.At(4).Kind() != Unreadable {
		t.Error("what is not given is absent if it is optional, and unreadable otherwise")
	}
}

func TestZeroValueIsUnreadable(t *testing.T) {
	var v Value
	if v.Known() || v.Kind() != Unreadable {
		t.Error("what nobody filled in is known")
	}
}

func TestFloatJSON(t *testing.T) {
	facts := &Type{Kind: Float}
	for f, want := range map[float64]string{math.Inf(1): "null", 1e300: "1e+300", 0.1: "0.1"} {
		v := FloatValue(f)
		if got := string(facts.AppendJSON(nil, &v)); got != want {
			t.Errorf("%v is %s; want %s", f, got, want)
		}
	}
}

func TestDefineRefuses(t *testing.T) {
	for _, tt := range []struct {
		p    Probe[source]
		want string
	}{
		{define[struct{ N int }](), `wants a name: fact:"n"`},
		{define[struct {
			N int `fact:"n" unit:"count"`
		}](), "is undocumented"},
		{define[struct {
			N int `fact:"n" doc:"d"`
		}](), "is a number without a unit"},
		{define[struct {
			N uint32 `fact:"n" unit:"count" doc:"d"`
		}](), "uint32 cannot be a fact"},
		{define[struct {
			N Opt[[]int] `fact:"n" unit:"count" doc:"d"`
		}](), "an empty one says the same"},
		{define[struct {
			N string `fact:"n" doc:"d"`
			M string `fact:"n" doc:"d"`
		}](), `the name "n" is taken`},
		{define[struct {
			N string `fact:"n,key" doc:"d"`
			M string `fact:"m,key" doc:"d"`
		}](), "has 2 keys"},
		{define[struct {
			N Opt[string] `fact:"n,key" doc:"d"`
		}](), "must be a string or an int that is always there"},
		{define[int](), "facts are a struct or a map"},
		{Probe[source]{Name: "p", Doc: doc}, "was not made by Define"},
		{Define(Probe[source]{Name: "Upper", Doc: doc}, answers(1)), "not a lower-case identifier"},
		{Define(Probe[source]{Name: "p", Doc: "Title only"}, answers(1)), "lacks its text"},
		{Define(Probe[source]{Name: "p", Doc: "A title.\n\ntext"}, answers(1)), "without a period"},
	} {
		if err := Validate([]Probe[source]{tt.p}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate: %v; want %q", err, tt.want)
		}
	}
	p := plain("p", answers(1))
	if err := Validate([]Probe[source]{p}); err != nil {
		t.Errorf("a good probe: %v", err)
	}
	if err := Validate([]Probe[source]{p, p}); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("two probes of one name: %v", err)
	}
}
