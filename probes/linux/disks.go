package linux

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Disks reads what the block devices do.
var Disks = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "disks",
	Doc: `Disks

Reads /proc/diskstats twice, and of each disk a few files under /sys/block. Loop, RAM, zram and floppy devices and optical drives are
left out. Costs about 0.1 ms a disk. util_pct is the share of time in which at least one request was under way: a disk that serves
many at once, as every SSD and cloud disk does, is not saturated at 100 %; look at await and queue beside it. A device-mapper or md
device (stacked) repeats what its disks do.`,
	Every: 10 * time.Second,
}, sampleDisks, disks)

type disksFacts struct {
	Devices []diskFacts `fact:"devices" doc:"Whole disks, in the kernel's order"`
}

type diskFacts struct {
	Name       string           `fact:"name,key" doc:"Kernel's name without /dev/: vda"`
	Size       int              `fact:"size" unit:"bytes" doc:"Capacity; /sys/block/*/size"`
	Stacked    bool             `fact:"stacked" doc:"Made of other disks: LVM, md, dm-crypt; /sys/block/*/slaves"`
	Removable  bool             `fact:"removable" doc:"/sys/block/*/removable"`
	ReadOnly   bool             `fact:"read_only" doc:"Refuses to be written; /sys/block/*/ro"`
	Rotational bool             `fact:"rotational" doc:"Says that it has moving parts; virtual disks often do without having any. /sys/block/*/queue/rotational"`
	Scheduler  string           `fact:"scheduler" doc:"I/O scheduler in use: none, mq-deadline, bfq; empty where the device has none. /sys/block/*/queue/scheduler"`
	Suspended  probes.Opt[bool] `fact:"suspended" doc:"Of a device-mapper device: it postpones all requests until somebody resumes it; absent for others. /sys/block/*/dm/suspended"`

	Partitions    int             `fact:"partitions" unit:"count" doc:"Number of partitions"`
	BytesUnused   probes.Opt[int] `fact:"bytes_unused" unit:"bytes" doc:"Bytes behind the last partition; absent without partitions. Large after the disk was grown and the partition was not"`
	LastPartition string          `fact:"last_partition" doc:"Name of the partition that ends last: vda1; empty without partitions"`

	InFlight int              `fact:"in_flight" unit:"requests" doc:"Requests handed to the device and not completed; /proc/diskstats"`
	Stalled  probes.Opt[bool] `fact:"stalled" doc:"Requests were under way at both samples and none completed between them; absent until there are two samples"`

	Reads        probes.Opt[float64]       `fact:"reads_per_s" unit:"1/s" doc:"Reads completed; absent until there are two samples, as all rates"`
	Writes       probes.Opt[float64]       `fact:"writes_per_s" unit:"1/s" doc:"Writes completed"`
	BytesRead    probes.Opt[float64]       `fact:"bytes_read_per_s" unit:"bytes/s" doc:"Bytes read"`
	BytesWritten probes.Opt[float64]       `fact:"bytes_written_per_s" unit:"bytes/s" doc:"Bytes written"`
	Await        probes.Opt[time.Duration] `fact:"await" doc:"Mean time from a request's start to its completion; absent if none completed"`
	Queue        probes.Opt[float64]       `fact:"queue" unit:"requests" doc:"Mean number of requests under way"`
	Util         probes.Opt[float64]       `fact:"util_pct" unit:"%" doc:"Share of time with at least one request under way"`
}

// diskSample is what was read of one disk: its facts without the rates, and its counters.
type diskSample struct {
	diskFacts
	diskCounters
}

// diskCounters are fields of /proc/diskstats (Documentation/admin-guide/iostats.rst). A 32-bit kernel wraps the times after 49 days.
type diskCounters struct {
	reads, sectorsRead, readMs      uint64
	writes, sectorsWritten, writeMs uint64
	inFlight, busyMs, queueMs       uint64
	others                          uint64 // discards and flushes completed
}

func (c *diskCounters) completed() uint64 { return c.reads + c.writes + c.others }

func sampleDisks(ctx context.Context, h host.Host) ([]diskSample, error) {
	names, err := wholeDisks(h)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, probes.NoData("there is no disk")
	}
	counters, err := readDiskstats(h)
	if err != nil {
		return nil, err
	}
	var list []diskSample
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, ok := counters[name]
		if !ok {
			continue // it came or went between the two readings
		}
		f, err := readDisk(h, name)
		if err != nil {
			return nil, err
		}
		f.InFlight = int(c.inFlight)
		list = append(list, diskSample{f, c})
	}
	return list, nil
}

// notDisks are the beginnings of device names that are no disks, or hold nothing of their own.
var notDisks = []string{"loop", "ram", "zram", "fd", "sr", "nbd"}

func wholeDisks(h host.Files) ([]string, error) {
	entries, err := h.ReadDir("/sys/block")
	if err != nil {
		return nil, fmt.Errorf("listing disks: %w", err)
	}
	var names []string
	for _, e := range entries {
		prefix := strings.TrimRight(e.Name, "0123456789")
		if !slices.Contains(notDisks, prefix) && e.Name != "" {
			names = append(names, e.Name)
		}
	}
	return names, nil
}

// sector is the unit of sizes in /sys/block and /proc/diskstats, whatever the device's own is.
const sector = 512

func readDisk(h host.Files, name string) (diskFacts, error) {
	dir := "/sys/block/" + name
	f := diskFacts{Name: name}
	sectors, err := readInt(h, dir+"/size")
	if err != nil {
		return f, err
	}
	f.Size = sectors * sector
	for file, flag := range map[string]*bool{"removable": &f.Removable, "ro": &f.ReadOnly, "queue/rotational": &f.Rotational} {
		n, err := readInt(h, dir+"/"+file)
		if err != nil {
			return f, err
		}
		*flag = n != 0
	}
	if line, err := readLine(h, dir+"/queue/scheduler"); err == nil { // a device that is not driven by requests has none
		f.Scheduler = scheduler(line)
	}
	if slaves, err := h.ReadDir(dir + "/slaves"); err == nil {
		f.Stacked = len(slaves) > 0
	}
	if strings.HasPrefix(name, "dm-") {
		if n, err := readInt(h, dir+"/dm/suspended"); err == nil { // since Linux 2.6.31
			f.Suspended = probes.Some(n != 0)
		}
	}
	return f, f.readPartitions(h, dir, sectors)
}

// scheduler picks the one in brackets of "mq-deadline kyber [none]"; a device without a choice has "none" alone.
func scheduler(line string) string {
	if _, rest, ok := strings.Cut(line, "["); ok {
		line, _, _ = strings.Cut(rest, "]")
	}
	return line
}

func (f *diskFacts) readPartitions(h host.Files, dir string, sectors int) error {
	entries, err := h.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing partitions: %w", err)
	}
	end := 0
	for _, e := range entries {
		part := dir + "/" + e.Name
		if !strings.HasPrefix(e.Name, f.Name) {
			continue
		}
		start, err := readInt(h, part+"/start")
		if err != nil {
			return err
		}
		size, err := readInt(h, part+"/size")
		if err != nil {
			return err
		}
		f.Partitions++
		if start+size > end {
			end, f.LastPartition = start+size, e.Name
		}
	}
	if f.Partitions > 0 {
		f.BytesUnused = probes.Some(max(0, sectors-end) * sector)
	}
	return nil
}

func readDiskstats(h host.Files) (map[string]diskCounters, error) {
	const name = "/proc/diskstats"
	b, err := h.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	all := map[string]diskCounters{}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 7 {
			continue // a partition, on kernels before 2.6.25
		}
		c, err := parseDiskCounters(fields)
		if err != nil {
			return nil, fmt.Errorf("reading %s: line %d: %w", name, n, err)
		}
		all[fields[2]] = c
	}
	if n == 0 {
		return nil, fmt.Errorf("reading %s: it is empty", name)
	}
	return all, nil
}

// parseDiskCounters parses "254 0 vda 55285 10655 2859954 14069 11171 63390 1613872 7949 0 5624 22372 5626 15 231592 321 1020 32".
// Discards came with Linux 4.18, flushes with 5.5.
func parseDiskCounters(fields []string) (diskCounters, error) {
	var c diskCounters
	if len(fields) < 14 {
		return c, fmt.Errorf("%d columns, not at least 14", len(fields))
	}
	var discards, flushes uint64
	for i, v := range []*uint64{
		&c.reads, nil, &c.sectorsRead, &c.readMs, &c.writes, nil, &c.sectorsWritten, &c.writeMs, &c.inFlight, &c.busyMs, &c.queueMs,
		&discards, nil, nil, nil, &flushes,
	} {
		if v == nil || 3+i >= len(fields) {
			continue
		}
		n, err := parseCount(fields[3+i])
		if err != nil {
			return c, err
		}
		*v = uint64(n)
	}
	c.others = discards + flushes
	return c, nil
}

func disks(cur []diskSample, prev *[]diskSample, dt time.Duration) (disksFacts, error) {
	var facts disksFacts
	for _, d := range cur {
		if prev != nil && dt > 0 {
			if i := slices.IndexFunc(*prev, func(p diskSample) bool { return p.Name == d.Name }); i >= 0 {
				d.rates(&(*prev)[i].diskCounters, dt)
			}
		}
		facts.Devices = append(facts.Devices, d.diskFacts)
	}
	return facts, nil
}

// rates fills in what happened since prev. Counters that went back belong to another device of the same name, or have wrapped.
func (d *diskSample) rates(prev *diskCounters, dt time.Duration) {
	c := &d.diskCounters
	if c.reads < prev.reads || c.writes < prev.writes || c.others < prev.others || c.busyMs < prev.busyMs || c.queueMs < prev.queueMs ||
		c.readMs < prev.readMs || c.writeMs < prev.writeMs {
		return
	}
	per := func(cur, prev uint64) probes.Opt[float64] { return probes.Some(float64(cur-prev) / dt.Seconds()) }
	d.Reads, d.Writes = per(c.reads, prev.reads), per(c.writes, prev.writes)
	d.BytesRead, d.BytesWritten = per(c.sectorsRead*sector, prev.sectorsRead*sector), per(c.sectorsWritten*sector, prev.sectorsWritten*sector)
	ms := dt.Seconds() * 1000
	d.Queue = probes.Some(float64(c.queueMs-prev.queueMs) / ms)
	d.Util = probes.Some(math.Min(100, percent(float64(c.busyMs-prev.busyMs), ms))) // the kernel books the time at a request's end
	if n := c.reads + c.writes - prev.reads - prev.writes; n > 0 {
		took := c.readMs + c.writeMs - prev.readMs - prev.writeMs
		d.Await = probes.Some(time.Duration(float64(took) / float64(n) * float64(time.Millisecond)))
	}
	d.Stalled = probes.Some(prev.inFlight > 0 && c.inFlight > 0 && c.completed() == prev.completed())
}
