package linux

import (
	"strings"
	"testing"
)

func TestPressure(t *testing.T) {
	const line = " avg10=1.50 avg60=20.25 avg300=0.00 total=123\n"
	whole := "-- /proc/pressure/cpu --\nsome" + line + "-- /proc/pressure/memory --\nsome" + line + "full" + line +
		"-- /proc/pressure/io --\nsome" + line + "full" + line
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"Linux 4.20 has no full line for cpu", whole, map[string]string{
			"cpu.some10_pct": "1.5", "cpu.full10_pct": "null", "memory.some60_pct": "20.25", "io.full60_pct": "20.25",
		}},
		{"older kernels have none", "", map[string]string{"(reason)": "keeps no pressure stall information"}},
		{"denied", "-- /proc/pressure/cpu !permission --\n", map[string]string{"(reason)": "permission"}},
		{"beyond 100 %", strings.Replace(whole, "avg10=1.50", "avg10=150.0", 1), map[string]string{"(reason)": "reading /proc/pressure/cpu"}},
		{"not a number", strings.Replace(whole, "avg10=1.50", "avg10=NaN", 1), map[string]string{"(reason)": "avg10= and a percentage"}},
		{"no some line", strings.Replace(whole, "some", "none", 1), map[string]string{"(reason)": "begins with some"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Pressure, observe(t, Pressure, c.capture), c.want) })
	}
}
