package linux

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Softnet reads how each CPU keeps up with the packets it receives.
var Softnet = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "softnet",
	Doc: `Packet processing per CPU

Reads /proc/net/softnet_stat twice. Costs 0.05 ms. dropped counts packets for which a CPU's backlog (net.core.netdev_max_backlog)
had no room; it is used by RPS, tunnels, veth and the loopback, while a NIC's own ring is in interfaces.rx_missed_per_s. A time
squeeze is a round of work that ended for want of time or budget; some under load are normal.`,
	Every: 10 * time.Second,
}, softnetSample, softnet)

type softnetFacts struct {
	Processed probes.Opt[float64] `fact:"processed_per_s" unit:"1/s" doc:"Packets that all CPUs processed; absent, as all rates, until there are two samples"`
	Dropped   probes.Opt[float64] `fact:"dropped_per_s" unit:"1/s" doc:"Packets dropped for want of room in a CPU's backlog"`
	Squeezed  probes.Opt[float64] `fact:"time_squeezes_per_s" unit:"1/s" doc:"Rounds that ended with work left"`
	CPUs      []softnetCPU        `fact:"cpus" doc:"The same for each CPU that is online"`
}

type softnetCPU struct {
	Name      string              `fact:"name,key" doc:"As in cpu0; before Linux 5.10, which tells the number, counted over those that are online"`
	Processed probes.Opt[float64] `fact:"processed_per_s" unit:"1/s" doc:"Packets processed"`
	Dropped   probes.Opt[float64] `fact:"dropped_per_s" unit:"1/s" doc:"Packets dropped for want of room in the backlog"`
	Squeezed  probes.Opt[float64] `fact:"time_squeezes_per_s" unit:"1/s" doc:"Rounds that ended with work left"`
}

// softnetRow is a line of the file. The counters have 32 bits and wrap.
type softnetRow struct {
	name                         string
	processed, dropped, squeezed uint32
}

// softnetIndex is the column that has held the CPU's number since Linux 5.10 (softnet_seq_show in net/core/net-procfs.c).
const softnetIndex = 12

func softnetSample(_ context.Context, h host.Host) ([]softnetRow, error) {
	const name = "/proc/net/softnet_stat"
	text, err := readText(h, name)
	if err != nil {
		return nil, err
	}
	var rows []softnetRow
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("reading %s: line %d has %d columns", name, len(rows)+1, len(fields))
		}
		numbers := make([]uint32, len(fields))
		for i, f := range fields {
			n, err := strconv.ParseUint(f, 16, 32)
			if err != nil {
				return nil, fmt.Errorf("reading %s: line %d: %.20q is not a hexadecimal number", name, len(rows)+1, f)
			}
			numbers[i] = uint32(n)
		}
		cpu := uint32(len(rows))
		if len(numbers) > softnetIndex {
			cpu = numbers[softnetIndex]
		}
		rows = append(rows, softnetRow{fmt.Sprintf("cpu%d", cpu), numbers[0], numbers[1], numbers[2]})
	}
	return rows, nil
}

func softnet(cur []softnetRow, prev *[]softnetRow, dt time.Duration) (softnetFacts, error) {
	f := softnetFacts{}
	before := map[string]softnetRow{}
	if prev != nil {
		for _, row := range *prev {
			before[row.name] = row
		}
	}
	var sum [3]float64
	for _, row := range cur {
		cpu := softnetCPU{Name: row.name}
		if p, ok := before[row.name]; ok && dt > 0 {
			per := func(i int, c, p uint32) probes.Opt[float64] {
				r := float64(c-p) / dt.Seconds() // of 32 bits, so right across a wrap
				sum[i] += r
				return probes.Some(r)
			}
			cpu.Processed, cpu.Dropped, cpu.Squeezed = per(0, row.processed, p.processed), per(1, row.dropped, p.dropped), per(2, row.squeezed, p.squeezed)
		}
		f.CPUs = append(f.CPUs, cpu)
	}
	if prev != nil && dt > 0 {
		f.Processed, f.Dropped, f.Squeezed = probes.Some(sum[0]), probes.Some(sum[1]), probes.Some(sum[2])
	}
	return f, nil
}
