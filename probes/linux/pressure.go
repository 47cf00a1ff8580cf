package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Pressure reads how much time tasks lost waiting for CPU, memory and I/O.
var Pressure = probes.Define(probes.Probe[host.Host]{
	Name: "pressure",
	Doc: `Pressure stall information

Reads /proc/pressure/{cpu,memory,io} (Linux 4.20 and later; some distributions want psi=1 on the kernel's command line). Costs 0.1 ms.
"some" is the share of time in which at least one task waited, "full" that in which all that were not idle waited at once.
It measures what users feel, so it is better evidence than utilisation: a host that is 100 % busy with one batch job has none.
The averages exist without a second sample. In a container the figures are the whole machine's.
https://docs.kernel.org/accounting/psi.html`,
	Every: 10 * time.Second,
}, pressure)

type pressureFacts struct {
	CPU    stalls `fact:"cpu" doc:"Tasks that waited for a core"`
	Memory stalls `fact:"memory" doc:"Tasks that waited for memory: reclaim, swap-in, refaults"`
	IO     stalls `fact:"io" doc:"Tasks that waited for block I/O"`
}

type stalls struct {
	Some10  float64             `fact:"some10_pct" unit:"%" doc:"Time in which a task waited, average over 10 s"`
	Some60  float64             `fact:"some60_pct" unit:"%" doc:"The same over 60 s"`
	Some300 float64             `fact:"some300_pct" unit:"%" doc:"The same over 300 s"`
	Full10  probes.Opt[float64] `fact:"full10_pct" unit:"%" doc:"Time in which every task that had work waited, average over 10 s; absent for cpu before Linux 5.13"`
	Full60  probes.Opt[float64] `fact:"full60_pct" unit:"%" doc:"The same over 60 s"`
	Full300 probes.Opt[float64] `fact:"full300_pct" unit:"%" doc:"The same over 300 s"`
}

func pressure(_ context.Context, h host.Host) (pressureFacts, error) {
	var f pressureFacts
	into := []*stalls{&f.CPU, &f.Memory, &f.IO}
	for i, name := range []string{"cpu", "memory", "io"} {
		file := "/proc/pressure/" + name
		text, err := readText(h, file)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EOPNOTSUPP): // built in but off: no file, or one that cannot be read
			return f, probes.NoData("the kernel keeps no pressure stall information")
		case err != nil:
			return f, err
		}
		if *into[i], err = parseStalls(text); err != nil {
			return f, fmt.Errorf("reading %s: %w", file, err)
		}
	}
	return f, nil
}

// parseStalls parses "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the like line for full.
func parseStalls(text string) (stalls, error) {
	var s stalls
	seen := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return s, fmt.Errorf("%.80q has %d fields, not 5", line, len(fields))
		}
		var avg [3]float64
		for i, key := range []string{"avg10=", "avg60=", "avg300="} {
			number, ok := strings.CutPrefix(fields[i+1], key)
			x, err := strconv.ParseFloat(number, 64)
			if !ok || err != nil || !(x >= 0 && x <= 100.5) { // sampling may overshoot a little; this also refuses NaN
				return s, fmt.Errorf("%.40q is not %s and a percentage", fields[i+1], key)
			}
			avg[i] = x
		}
		switch fields[0] {
		case "some":
			seen = true
			s.Some10, s.Some60, s.Some300 = avg[0], avg[1], avg[2]
		case "full":
			s.Full10, s.Full60, s.Full300 = probes.Some(avg[0]), probes.Some(avg[1]), probes.Some(avg[2])
		}
	}
	if !seen {
		return s, errors.New("there is no line that begins with some")
	}
	return s, nil
}
