package main

import (
	"errors"
	"strings"
	"testing"
)

// No figure is missed or not measured without a reason beside it.
func TestPageGivesReasons(t *testing.T) {
	goal := figure{name: "x", goal: "≤ 1 s", limit: 1, unit: "s"}
	for _, tt := range []struct {
		name string
		row  row
		want string
	}{
		{"met", row{figure: goal, ok: true, measured: 1, note: "median of 3", cost: "YAML"}, "| 1 s | met |  | median of 3 |"},
		{"missed", row{figure: goal, ok: true, measured: 2, note: "median of 3", cost: "YAML"}, "| 2 s | **missed** |  | median of 3; missed: YAML |"},
		{"missed, nobody knows why", row{figure: goal, ok: true, measured: 2}, "| 2 s | **missed** |  | missed: the reason is not known |"},
		{"not measured", notMeasured(goal, errors.New("needs root")), "| — | not measured |  | needs root |"},
	} {
		if got := string(page([]row{tt.row})); !strings.Contains(got, tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.name, tt.want, got)
		}
	}
}
