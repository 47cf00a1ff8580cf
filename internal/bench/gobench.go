package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// sample is one line of `go test -bench`: its name without the number of CPUs, and its metrics by unit.
type sample struct {
	name    string
	metrics map[string]float64
}

// goBench runs the Go benchmarks of a package that match pattern.
func (m *machine) goBench(pkg, pattern string) ([]sample, error) {
	key := pkg + " " + pattern
	if s, ok := m.cached[key]; ok {
		return s, nil
	}
	cmd := exec.CommandContext(m.ctx, "go", "test", "-run=^$", "-bench="+pattern, "-benchmem", "-timeout=10m", pkg)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, firstLine(string(out)))
	}
	samples := parseBench(string(out))
	if len(samples) == 0 {
		return nil, errors.New(skipReason(string(out)))
	}
	if m.cached == nil {
		m.cached = map[string][]sample{}
	}
	m.cached[key] = samples
	return samples, nil
}

func parseBench(out string) []sample {
	var samples []sample
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := words[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i]
		}
		s := sample{name: strings.TrimPrefix(name, "Benchmark"), metrics: map[string]float64{}}
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil {
				s.metrics[words[i+1]] = v
			}
		}
		samples = append(samples, s)
	}
	return samples
}

// skipReason finds why a benchmark was skipped.
func skipReason(out string) string {
	for line := range strings.Lines(out) {
		if _, why, ok := strings.Cut(line, "_test.go:"); ok {
			_, why, _ = strings.Cut(why, ": ")
			return strings.TrimSpace(why)
		}
	}
	return "no benchmark matched"
}

// metric returns a metric of the benchmark called name, in its unit.
func metric(samples []sample, name, unit string) (float64, error) {
	for _, s := range samples {
		if s.name == name {
			if v, ok := s.metrics[unit]; ok {
				return v, nil
			}
			return 0, fmt.Errorf("benchmark %s reports no %s", name, unit)
		}
	}
	return 0, fmt.Errorf("there is no benchmark %s", name)
}
