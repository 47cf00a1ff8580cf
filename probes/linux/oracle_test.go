package linux

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
)

// frozen copies files of this machine's /proc, so that our readers and procfs read the very same text and must agree to the last digit.
// Zeros become numbers that differ, or columns taken for each other would agree on a quiet machine. A file that this machine does not
// have is missing in the copy as well.
func frozen(t *testing.T, names ...string) (ours host.Host, theirs procfs.FS, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"1", "self"} { // procfs reads tables of the network namespace through a process
		if err := os.Symlink(".", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	var capture strings.Builder
	n := 0
	differ := func(zeros string) string { // from 99 down: pressure is a percentage, and free is no more than total, which comes before it
		n++
		return fmt.Sprintf("%0*d", len(zeros), 99-(n-1)%99)
	}
	for _, name := range names {
		text, err := os.ReadFile(path.Join("/proc", name))
		if err != nil {
			t.Logf("%v", err)
			continue
		}
		text = []byte(zero.ReplaceAllStringFunc(string(text), differ))
		if err := os.MkdirAll(filepath.Join(dir, path.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&capture, "-- /proc/%s [quoted] --\n%s", name, quote(string(text)))
	}
	ours, err := hosttest.Parse([]byte(capture.String()))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = procfs.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs, dir
}

var zero = regexp.MustCompile(`\b0+\b`)

func same[T comparable](t *testing.T, what string, ours, theirs T) {
	t.Helper()
	if ours != theirs {
		t.Errorf("%s: %v, and %v says procfs", what, ours, theirs)
	}
}

// must is for what this machine has to answer.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestStatAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "stat")
	ours, theirs := must(readStat(h))(t), must(fs.Stat())(t)
	same(t, "boot", uint64(ours.boot.Unix()), theirs.BootTime)
	same(t, "context switches", ours.switches, theirs.ContextSwitches)
	same(t, "forks", ours.forks, theirs.ProcessCreated)
	same(t, "running", uint64(ours.running), theirs.ProcessesRunning)
	same(t, "blocked", uint64(ours.blocked), theirs.ProcessesBlocked)
	same(t, "total", ours.total, ticks(theirs.CPUTotal))
	same(t, "cores", len(ours.cores), len(theirs.CPU))
	for _, core := range ours.cores {
		var n int64
		if _, err := fmt.Sscanf(core.name, "cpu%d", &n); err != nil {
			t.Fatal(err)
		}
		same(t, core.name, core.cpuTimes, ticks(theirs.CPU[n]))
	}
}

// ticks undoes procfs's division by USER_HZ.
func ticks(s procfs.CPUStat) (c cpuTimes) {
	for i, v := range []float64{s.User, s.Nice, s.System, s.Idle, s.Iowait, s.IRQ, s.SoftIRQ, s.Steal, s.Guest, s.GuestNice} {
		c[i] = uint64(math.Round(v * 100))
	}
	return c
}

func TestMemoryAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "meminfo")
	f, m := must(memory(t.Context(), h))(t), must(fs.Meminfo())(t)
	perCPU, _ := f.PerCPU.Get()
	for _, c := range []struct {
		what   string
		ours   int
		theirs *uint64
	}{
		{"total", f.Total, m.MemTotalBytes},
		{"free", f.Free, m.MemFreeBytes},
		{"available", f.Available, m.MemAvailableBytes},
		{"buffers", f.Buffers, m.BuffersBytes},
		{"cached", f.Cached, m.CachedBytes},
		{"anon", f.Anon, m.AnonPagesBytes},
		{"shmem", f.Shmem, m.ShmemBytes},
		{"dirty", f.Dirty, m.DirtyBytes},
		{"writeback", f.Writeback, m.WritebackBytes},
		{"unevictable", f.Unevictable, m.UnevictableBytes},
		{"slab", f.Slab, m.SlabBytes},
		{"slab_reclaimable", f.SlabReclaimable, m.SReclaimableBytes},
		{"slab_unreclaimable", f.SlabUnreclaimable, m.SUnreclaimBytes},
		{"page_tables", f.PageTables, m.PageTablesBytes},
		{"kernel_stack", f.KernelStack, m.KernelStackBytes},
		{"percpu", perCPU, m.PercpuBytes},
		{"committed", f.Committed, m.CommittedASBytes},
		{"commit_limit", f.CommitLimit, m.CommitLimitBytes},
		{"swap_total", f.SwapTotal, m.SwapTotalBytes},
	} {
		if c.theirs != nil { // older kernels do not have them all
			same(t, c.what, uint64(c.ours), *c.theirs)
		}
	}
	if free, ok := f.SwapFree.Get(); ok {
		same(t, "swap_free", uint64(free), *m.SwapFreeBytes)
	}
	if pool, ok := f.Huge.Get(); ok {
		same(t, "hugepages.size", uint64(pool.Size), *m.HugepagesizeBytes)
		same(t, "hugepages.total", uint64(pool.Total), *m.HugePagesTotal)
		same(t, "hugepages.free", uint64(pool.Free), *m.HugePagesFree)
		same(t, "hugepages.reserved", uint64(pool.Reserved), *m.HugePagesRsvd)
		same(t, "hugepages.surplus", uint64(pool.Surplus), *m.HugePagesSurp)
	}
}

func TestLoadAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "loadavg", "stat")
	ours, theirs := must(load(t.Context(), h))(t), must(fs.LoadAvg())(t)
	same(t, "averages", [3]float64{ours.Load1, ours.Load5, ours.Load15}, [3]float64{theirs.Load1, theirs.Load5, theirs.Load15})
}

func TestDiskstatsAgree(t *testing.T) {
	h, _, dir := frozen(t, "diskstats")
	ours := must(readDiskstats(h))(t)
	theirs := must(must(blockdevice.NewFS(dir, "/sys"))(t).ProcDiskstats())(t)
	same(t, "devices", len(ours), len(theirs))
	for _, d := range theirs {
		same(t, d.DeviceName, ours[d.DeviceName], diskCounters{
			reads: d.ReadIOs, sectorsRead: d.ReadSectors, readMs: d.ReadTicks,
			writes: d.WriteIOs, sectorsWritten: d.WriteSectors, writeMs: d.WriteTicks,
			inFlight: d.IOsInProgress, busyMs: d.IOsTotalTicks, queueMs: d.WeightedIOTicks, others: d.DiscardIOs + d.FlushRequestsCompleted,
		})
	}
}

func TestNetworkCountersAgree(t *testing.T) {
	h, fs, _ := frozen(t, "net/snmp", "net/netstat", "net/snmp6")
	ours, theirs := must(tcpStatsSample(t.Context(), h))(t), must(fs.Proc(1))(t)
	compared := counters(t, ours, must(theirs.Snmp())(t)) + counters(t, ours, must(theirs.Netstat())(t))
	if _, err := h.Stat("/proc/net/snmp6"); err == nil {
		compared += counters(t, ours, must(theirs.Snmp6())(t))
	}
	if compared < 100 { // Linux 3.10 has 90 in TcpExt alone
		t.Errorf("only %d counters were compared", compared)
	}
}

// counters compares every counter that procfs found with ours; it has them as fields of one struct a protocol.
func counters(t *testing.T, ours netCounters, theirs any) (compared int) {
	v := reflect.ValueOf(theirs)
	for i := range v.NumField() {
		proto := v.Type().Field(i).Name
		if v.Field(i).Kind() != reflect.Struct {
			continue // the process's id
		}
		for j := range v.Field(i).NumField() {
			value, ok := reflect.TypeAssert[*float64](v.Field(i).Field(j))
			if !ok || value == nil {
				continue
			}
			name := v.Field(i).Type().Field(j).Name
			n, ok := ours[counter{proto, name}]
			if !ok {
				n, ok = ours[counter{name: proto + name}]
			}
			if !ok {
				t.Errorf("%s %s: not there, and %v says procfs", proto, name, *value)
				continue
			}
			same(t, proto+" "+name, float64(int64(n)), *value) // MaxConn is -1
			compared++
		}
	}
	return compared
}

func TestSockstatAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "net/sockstat")
	ours, theirs := must(readSockstat(h))(t), must(fs.NetSockstat())(t)
	compared := 0
	for _, p := range theirs.Protocols {
		for key, value := range map[string]*int{"inuse": &p.InUse, "orphan": p.Orphan, "tw": p.TW, "alloc": p.Alloc, "mem": p.Mem, "memory": p.Memory} {
			if value != nil {
				same(t, p.Protocol+" "+key, ours[p.Protocol+" "+key], *value)
				compared++
			}
		}
	}
	same(t, "sockets used", ours["sockets used"], *theirs.Used)
	same(t, "numbers", len(ours), compared+1)
}

func TestSoftnetAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "net/softnet_stat")
	ours, theirs := must(softnetSample(t.Context(), h))(t), must(fs.NetSoftnetStat())(t)
	same(t, "rows", len(ours), len(theirs))
	for i, r := range theirs {
		same(t, ours[i].name, ours[i], softnetRow{fmt.Sprintf("cpu%d", r.Index), r.Processed, r.Dropped, r.TimeSqueezed})
	}
}

func TestPressureAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "pressure/cpu", "pressure/memory", "pressure/io")
	if _, err := h.ReadFile("/proc/pressure/cpu"); err != nil {
		t.Skip("the kernel keeps no pressure stall information")
	}
	f := must(pressure(t.Context(), h))(t)
	for name, ours := range map[string]stalls{"cpu": f.CPU, "memory": f.Memory, "io": f.IO} {
		theirs := must(fs.PSIStatsForResource(name))(t)
		same(t, name+" some", [3]float64{ours.Some10, ours.Some60, ours.Some300}, averages(theirs.Some))
		full10, ok := ours.Full10.Get()
		full60, _ := ours.Full60.Get()
		full300, _ := ours.Full300.Get()
		same(t, name+" has full", ok, theirs.Full != nil)
		if ok {
			same(t, name+" full", [3]float64{full10, full60, full300}, averages(theirs.Full))
		}
	}
}

func averages(l *procfs.PSILine) [3]float64 { return [3]float64{l.Avg10, l.Avg60, l.Avg300} }

func TestMountsAgree(t *testing.T) {
	h, fs, _ := frozen(t, "self/mountinfo")
	ours, rows := must(readMounts(h))(t), must(must(fs.Proc(1))(t).MountInfo())(t)
	escapes := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#") // procfs leaves them
	theirs := map[string]*procfs.MountInfo{}
	for _, row := range rows {
		theirs[escapes.Replace(row.MountPoint)] = row // what comes later covers what was there
	}
	same(t, "mount points", len(ours), len(theirs))
	for _, m := range ours {
		row := theirs[m.point]
		if row == nil {
			t.Errorf("%s: procfs has no such mount", m.point)
			continue
		}
		same(t, m.point+" device", m.dev, row.MajorMinorVer)
		same(t, m.point+" root", m.root, escapes.Replace(row.Root))
		same(t, m.point+" type", m.fstype, row.FSType)
		same(t, m.point+" source", m.source, escapes.Replace(row.Source))
		if !maps.Equal(options(m.options), row.Options) || !maps.Equal(options(m.super), row.SuperOptions) {
			t.Errorf("%s: options %v %v, and %v %v says procfs", m.point, m.options, m.super, row.Options, row.SuperOptions)
		}
	}
}

func options(list []string) map[string]string {
	m := map[string]string{}
	for _, o := range list {
		key, value, _ := strings.Cut(o, "=")
		m[key] = value
	}
	return m
}

// TestStatTablesAgree reads the per-CPU tables under /proc/net/stat, as the probes conntrack and neighbours do.
func TestStatTablesAgree(t *testing.T) {
	h, fs, _ := frozen(t, "net/stat/arp_cache", "net/stat/ndisc_cache", "net/stat/nf_conntrack", "net/stat/rt_cache")
	tables := must(fs.NetStat())(t)
	if len(tables) == 0 {
		t.Skip("a network namespace of its own has no such tables")
	}
	for _, table := range tables {
		rows := must(columns(must(readText(h, "/proc/net/stat/"+table.Filename))(t)))(t)
		same(t, table.Filename+" columns", len(rows[0]), len(table.Stats))
		for name, values := range table.Stats {
			same(t, table.Filename+" rows", len(rows), len(values))
			for i, value := range values {
				same(t, fmt.Sprintf("%s %s of row %d", table.Filename, name, i), rows[i][name], value)
			}
		}
	}
}

// TestNeighboursAgree asks netlink for what /proc/net/arp lists. Entries come and go: those that were there before and after are compared.
func TestNeighboursAgree(t *testing.T) {
	fs := must(procfs.NewDefaultFS())(t)
	var l host.Local
	names := must(linkNames(t.Context(), &l))(t)
	before := must(fs.GatherARPEntries())(t)
	ours := map[string]string{}
	err := l.Neighbours(t.Context(), func(n *host.Neighbour) error {
		ours[n.IP.String()+" "+linkName(names, n.Link)] = n.MAC
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	after := map[string]string{}
	for _, e := range must(fs.GatherARPEntries())(t) {
		after[e.IPAddr.String()+" "+e.Device] = e.HWAddr.String()
	}
	compared := 0
	for _, e := range before {
		name, mac := e.IPAddr.String()+" "+e.Device, e.HWAddr.String()
		if e.IsComplete() && after[name] == mac {
			same(t, name, ours[name], mac)
			compared++
		}
	}
	if compared == 0 {
		t.Skip("this machine knows no neighbour")
	}
}

// TestConntrackAgrees sums what procfs reads by columns' places and we by their names.
func TestConntrackAgrees(t *testing.T) {
	h, fs, _ := frozen(t, "net/stat/nf_conntrack", "sys/net/netfilter/nf_conntrack_count", "sys/net/netfilter/nf_conntrack_max",
		"sys/net/netfilter/nf_conntrack_buckets")
	if _, err := h.ReadFile("/proc/net/stat/nf_conntrack"); err != nil {
		t.Skip("the kernel has no conntrack statistics")
	}
	raw := must(conntrackSample(t.Context(), h))(t)
	var drop, early, failed uint64
	for _, e := range must(fs.ConntrackStat())(t) {
		drop, early, failed = drop+e.Drop, early+e.EarlyDrop, failed+e.InsertFailed
	}
	ours := func(o interface{ Get() (int, bool) }) uint64 { n, _ := o.Get(); return uint64(n) }
	same(t, "drop", ours(raw.drop), drop)
	same(t, "early_drop", ours(raw.earlyDrop), early)
	same(t, "insert_failed", ours(raw.insertFail), failed)
}
