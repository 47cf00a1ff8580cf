package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Conntrack reads how full the connection-tracking table is.
var Conntrack = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "conntrack",
	Doc: `Connection tracking table

Reads nf_conntrack_count, _max and _buckets under /proc/sys/net/netfilter, /proc/net/stat/nf_conntrack twice, and as root the size of an
entry from /sys/kernel/slab. Costs 0.1 ms. No data where the module is not loaded. Count and drops are of this network
namespace, the maximum holds for each. An entry stays until its timeout (5 days for an idle connection), so a full
table may hold few connections that live.`,
	Every: 10 * time.Second,
}, conntrackSample, conntrack)

type conntrackFacts struct {
	Count      int                 `fact:"count" unit:"entries" doc:"Entries in use; nf_conntrack_count"`
	Max        int                 `fact:"max" unit:"entries" doc:"Entries that there may be; nf_conntrack_max. 0: no limit"`
	UsedPct    probes.Opt[float64] `fact:"used_pct" unit:"%" doc:"count, as part of max; absent without a limit"`
	Buckets    int                 `fact:"buckets" unit:"count" doc:"Lists that the entries are hashed into; nf_conntrack_buckets"`
	EntryBytes int                 `fact:"entry_bytes" unit:"bytes" doc:"Memory of one entry: /sys/kernel/slab, which only root may read, else 320, the most that x86_64 kernels take (Linux 3.10 to 5.x; 6.18 takes 256)"`
	Drops      probes.Opt[float64] `fact:"drops_per_s" unit:"1/s" doc:"Packets dropped because no entry could be made; column drop. Absent until there are two samples, and in a kernel without the file"`
	EarlyDrops probes.Opt[float64] `fact:"early_drops_per_s" unit:"1/s" doc:"Entries of connections not yet answered, thrown out to make room; column early_drop"`
	Failed     probes.Opt[float64] `fact:"insert_failed_per_s" unit:"1/s" doc:"Packets dropped because their entry was there already: races of UDP through NAT; column insert_failed"`
}

type conntrackRaw struct {
	count, max, buckets, entry  int
	drop, earlyDrop, insertFail probes.Opt[int]
}

func conntrackSample(_ context.Context, h host.Host) (raw conntrackRaw, err error) {
	for _, n := range []struct {
		name string
		into *int
	}{{"count", &raw.count}, {"max", &raw.max}, {"buckets", &raw.buckets}} {
		*n.into, err = readInt(h, "/proc/sys/net/netfilter/nf_conntrack_"+n.name)
		if errors.Is(err, fs.ErrNotExist) && n.name == "count" {
			return raw, probes.NoData("the nf_conntrack module is not loaded")
		}
		if err != nil {
			return raw, err
		}
	}
	if raw.entry, err = conntrackEntry(h); err != nil {
		return raw, err
	}
	const name = "/proc/net/stat/nf_conntrack"
	text, err := readText(h, name)
	if errors.Is(err, fs.ErrNotExist) { // CONFIG_NF_CONNTRACK_PROCFS is off
		return raw, nil
	}
	if err != nil {
		return raw, err
	}
	rows, err := columns(text)
	if err != nil {
		return raw, fmt.Errorf("reading %s: %w", name, err)
	}
	sum := func(column string) probes.Opt[int] {
		if _, ok := rows[0][column]; !ok {
			return probes.None[int]()
		}
		n := 0
		for _, row := range rows {
			n += int(row[column])
		}
		return probes.Some(n)
	}
	raw.drop, raw.earlyDrop, raw.insertFail = sum("drop"), sum("early_drop"), sum("insert_failed")
	return raw, nil
}

// conntrackEntry finds what an entry takes in the kernel's cache of struct nf_conn. /proc/slabinfo has it too, and takes 2 ms to be written.
func conntrackEntry(h host.Files) (int, error) {
	const usual = 320
	n, err := readInt(h, "/sys/kernel/slab/nf_conntrack/slab_size")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return usual, nil // not root, or a kernel before 4.7, whose cache has another name
	}
	return n, err
}

func conntrack(cur conntrackRaw, prev *conntrackRaw, dt time.Duration) (conntrackFacts, error) {
	f := conntrackFacts{Count: cur.count, Max: cur.max, Buckets: cur.buckets, EntryBytes: cur.entry}
	if cur.max > 0 {
		f.UsedPct = probes.Some(percent(float64(cur.count), float64(cur.max)))
	}
	if prev != nil {
		f.Drops, f.EarlyDrops = growth(cur.drop, prev.drop, dt), growth(cur.earlyDrop, prev.earlyDrop, dt)
		f.Failed = growth(cur.insertFail, prev.insertFail, dt)
	}
	return f, nil
}
