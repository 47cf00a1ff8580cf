package linux

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
)

func TestSteady(t *testing.T) {
	other := errors.New("other")
	for _, tt := range []struct {
		answers []error
		calls   int
		want    error
	}{
		{[]error{nil}, 1, nil},
		{[]error{host.ErrInterrupted, nil}, 2, nil},
		{[]error{host.ErrInterrupted, host.ErrInterrupted, nil}, 2, host.ErrInterrupted},
		{[]error{other, nil}, 1, other},
	} {
		calls := 0
		err := steady(func() error { calls++; return tt.answers[calls-1] })
		if calls != tt.calls || !errors.Is(err, tt.want) {
			t.Errorf("%v: %d calls, %v; want %d, %v", tt.answers, calls, err, tt.calls, tt.want)
		}
	}
}

func TestPreferred(t *testing.T) {
	route := func(dst string, table, metric, link int) host.Route {
		return host.Route{Dst: netip.MustParsePrefix(dst), Table: table, Metric: metric, Link: link}
	}
	four, backup := route("0.0.0.0/0", mainTable, 100, 1), route("0.0.0.0/0", mainTable, 200, 2)
	six, policy := route("::/0", mainTable, 1, 3), route("0.0.0.0/0", 1000, 0, 4)
	for _, tt := range []struct {
		list []host.Route
		want int
	}{
		{nil, 0},
		{[]host.Route{backup, four}, 1},
		{[]host.Route{six, policy, backup}, 2},
		{[]host.Route{policy, six}, 3},
		{[]host.Route{policy}, 4},
	} {
		if best, ok := preferred(tt.list); best.Link != tt.want || ok != (tt.want != 0) {
			t.Errorf("%v: interface %d, want %d", tt.list, best.Link, tt.want)
		}
	}
}

func TestColumns(t *testing.T) {
	rows, err := columns("a b\n0f 10\n1 2\n")
	if err != nil || len(rows) != 2 || rows[0]["a"] != 15 || rows[0]["b"] != 16 || rows[1]["b"] != 2 {
		t.Errorf("%v, %v", rows, err)
	}
	for text, want := range map[string]string{
		"a b\n":           "no line after the heading",
		"a b\n1\n":        "line 2 has 1 columns and the heading 2",
		"a b\n1 2\n1 x\n": `line 3: b: "x" is not a hexadecimal number`,
	} {
		if _, err := columns(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}
