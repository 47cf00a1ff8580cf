package linux

import (
	"context"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// CPU reads where the processors' time went between two samples.
var CPU = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "cpu",
	Doc: `Processor time

Reads /proc/stat twice. Costs 0.1 ms, and 1 ms on 128 cores. The percentages are of the interval between the samples, which
is one second in a single diagnosis: a burst looks like saturation, so judge them together with load or pressure. Idle and
iowait of one core are not exact (proc_stat(5)): iowait says that a task waits for a disk, not that the core could not do other
work. In a container the figures are the whole machine's. Steal stays 0 where the hypervisor does not report it.`,
	Every: 10 * time.Second,
}, cpuSample, cpu)

type cpuFacts struct {
	Cores  int                 `fact:"count" unit:"cores" doc:"Cores that are online"`
	All    cpuShares           `fact:"all" doc:"Where the time of all cores together went"`
	PerCPU []coreShares        `fact:"cores" doc:"Where the time of each core went that is online"`
	Switch probes.Opt[float64] `fact:"context_switches_per_s" unit:"1/s" doc:"Context switches of all cores; absent until there are two samples"`
	Forks  probes.Opt[float64] `fact:"forks_per_s" unit:"1/s" doc:"Processes and threads started; absent until there are two samples"`
}

type coreShares struct {
	Name   string    `fact:"name,key" doc:"The core as /proc/stat calls it: cpu0"`
	Shares cpuShares `fact:"time" doc:"Where its time went"`
}

type cpuShares struct {
	Busy    probes.Opt[float64] `fact:"busy_pct" unit:"%" doc:"Everything but idle and iowait; absent, as all of these, until there are two samples"`
	User    probes.Opt[float64] `fact:"user_pct" unit:"%" doc:"Programs at normal priority, without guest time"`
	Nice    probes.Opt[float64] `fact:"nice_pct" unit:"%" doc:"Programs at low priority (nice above 0), without guest time"`
	System  probes.Opt[float64] `fact:"system_pct" unit:"%" doc:"The kernel on behalf of programs"`
	Idle    probes.Opt[float64] `fact:"idle_pct" unit:"%" doc:"Nothing to do"`
	IOWait  probes.Opt[float64] `fact:"iowait_pct" unit:"%" doc:"Nothing to do while a task waits for block I/O"`
	IRQ     probes.Opt[float64] `fact:"irq_pct" unit:"%" doc:"Hardware interrupts"`
	SoftIRQ probes.Opt[float64] `fact:"softirq_pct" unit:"%" doc:"Soft interrupts: mostly network packets"`
	Steal   probes.Opt[float64] `fact:"steal_pct" unit:"%" doc:"Ready to run, but the hypervisor ran somebody else"`
	Guest   probes.Opt[float64] `fact:"guest_pct" unit:"%" doc:"Running virtual machines of this host, low priority included"`
}

func cpuSample(_ context.Context, h host.Host) (kernelStat, error) { return readStat(h) }

func cpu(cur kernelStat, prev *kernelStat, dt time.Duration) (cpuFacts, error) {
	f := cpuFacts{Cores: len(cur.cores), PerCPU: make([]coreShares, len(cur.cores))}
	var before map[string]cpuTimes // a core that came online between the samples has none
	if prev != nil {
		f.All = cur.total.since(prev.total)
		f.Switch = rate(cur.switches, prev.switches, dt)
		f.Forks = rate(cur.forks, prev.forks, dt)
		before = make(map[string]cpuTimes, len(prev.cores))
		for _, c := range prev.cores {
			before[c.name] = c.cpuTimes
		}
	}
	for i, c := range cur.cores {
		f.PerCPU[i].Name = c.name
		if old, ok := before[c.name]; ok {
			f.PerCPU[i].Shares = c.since(old)
		}
	}
	return f, nil
}

// since says where the time between two samples went; nothing where no time passed. A column that went backwards counts as
// 0: idle and iowait do so by a few ticks on tickless kernels, and all of them when a core comes online again.
func (t cpuTimes) since(old cpuTimes) cpuShares {
	var d [len(t)]float64
	sum := 0.0
	for i := range t {
		if t[i] > old[i] {
			d[i] = float64(t[i] - old[i])
		}
	}
	d[cpuUser] = max(0, d[cpuUser]-d[cpuGuest])
	d[cpuNice] = max(0, d[cpuNice]-d[cpuGuestNice])
	for _, x := range d {
		sum += x
	}
	if sum == 0 {
		return cpuShares{}
	}
	pct := func(ticks float64) probes.Opt[float64] { return probes.Some(100 * ticks / sum) }
	return cpuShares{
		Busy: pct(sum - d[cpuIdle] - d[cpuIOWait]), User: pct(d[cpuUser]), Nice: pct(d[cpuNice]), System: pct(d[cpuSystem]),
		Idle: pct(d[cpuIdle]), IOWait: pct(d[cpuIOWait]), IRQ: pct(d[cpuIRQ]), SoftIRQ: pct(d[cpuSoftIRQ]),
		Steal: pct(d[cpuSteal]), Guest: pct(d[cpuGuest] + d[cpuGuestNice]),
	}
}
