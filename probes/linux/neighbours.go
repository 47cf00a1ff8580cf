package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Neighbours reads the ARP and NDP tables.
var Neighbours = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "neighbours",
	Doc: `Neighbour tables

Dumps the ARP and NDP tables by netlink, and reads /proc/net/stat/arp_cache and ndisc_cache and the gc_thresh limits, twice. Costs 0.2 ms,
and 0.5 ms for 1,000 neighbours. The tables and limits are shared by all network namespaces: entries counts the containers'
neighbours too, the states only this namespace's. A failed neighbour that nobody asks for any more stays until it is collected.`,
	Every: 10 * time.Second,
}, neighboursSample, neighbours)

type neighboursFacts struct {
	IPv4     neighbourTable `fact:"ipv4" doc:"The ARP table"`
	IPv6     neighbourTable `fact:"ipv6" doc:"The NDP table"`
	Gateways []gatewayFacts `fact:"gateways" doc:"The next hops of the default routes"`
	Resolved int            `fact:"resolved" unit:"count" doc:"Neighbours of this namespace whose hardware address is known: reachable, stale, delay, probe, permanent"`
	Failed   int            `fact:"failed" unit:"count" doc:"Neighbours of this namespace that did not answer"`
	Waiting  int            `fact:"incomplete" unit:"count" doc:"Neighbours of this namespace that are being asked for the first time"`
}

type neighbourTable struct {
	Entries   probes.Opt[int]     `fact:"entries" unit:"entries" doc:"Entries in use, in all network namespaces where the kernel tells, else in this one; absent where the protocol is off"`
	GCThresh1 probes.Opt[int]     `fact:"gc_thresh1" unit:"entries" doc:"Below it nothing is collected; absent in a container, which cannot see it"`
	GCThresh2 probes.Opt[int]     `fact:"gc_thresh2" unit:"entries" doc:"Above it what is older than 5 s is collected at once"`
	Max       probes.Opt[int]     `fact:"max" unit:"entries" doc:"gc_thresh3: there are never more, and a new neighbour is refused"`
	UsedPct   probes.Opt[float64] `fact:"used_pct" unit:"%" doc:"entries, as part of max"`
	Overflows probes.Opt[float64] `fact:"overflows_per_s" unit:"1/s" doc:"Neighbours refused because the table was full; table_fulls, absent before Linux 4.3 and until there are two samples"`
}

type gatewayFacts struct {
	Address   string `fact:"address,key" doc:"Address of the next hop"`
	Interface string `fact:"interface" doc:"The interface it is on"`
	State     string `fact:"state" doc:"reachable, stale, delay, probe, permanent, failed, incomplete; none if nothing was sent to it yet"`
}

type neighboursRaw struct {
	v4, v6                   neighbourCounts
	gateways                 []gatewayFacts
	resolved, failed, asking int
}

// neighbourCounts are what the files tell of one table.
type neighbourCounts struct {
	entries, thresh1, thresh2, thresh3 probes.Opt[int]
	overflows                          probes.Opt[int]
}

func neighboursSample(ctx context.Context, h host.Host) (raw neighboursRaw, err error) {
	names, err := linkNames(ctx, h)
	if err != nil {
		return raw, err
	}
	defaults, err := defaultRoutes(ctx, h)
	if err != nil {
		return raw, err
	}
	at := map[netip.Addr]int{}
	for _, r := range defaults {
		if _, known := at[r.Gateway]; r.Gateway.IsValid() && !known {
			at[r.Gateway] = len(raw.gateways)
			raw.gateways = append(raw.gateways, gatewayFacts{Address: r.Gateway.String(), Interface: linkName(names, r.Link), State: "none"})
		}
	}
	var four, six int
	err = steady(func() error {
		four, six, raw.resolved, raw.failed, raw.asking = 0, 0, 0, 0, 0
		return h.Neighbours(ctx, func(n *host.Neighbour) error {
			if i, ok := at[n.IP]; ok {
				raw.gateways[i].State = n.State
			}
			switch n.State {
			case "noarp", "none": // multicast and the loopback; they are in the table, but nobody is asked for
			case "failed":
				raw.failed++
			case "incomplete":
				raw.asking++
			default:
				raw.resolved++
			}
			if n.IP.Is4() {
				four++
			} else {
				six++
			}
			return nil
		})
	})
	if err != nil {
		return raw, err
	}
	if raw.v4, err = readNeighbourCounts(h, "ipv4", "arp_cache", four); err != nil {
		return raw, err
	}
	raw.v6, err = readNeighbourCounts(h, "ipv6", "ndisc_cache", six)
	return raw, err
}

// readNeighbourCounts reads the limits and the statistics of one table. A network namespace of its own has neither file.
func readNeighbourCounts(h host.Files, family, cache string, seen int) (c neighbourCounts, err error) {
	dir := "/proc/sys/net/" + family + "/neigh/default/gc_thresh"
	for i, into := range []*probes.Opt[int]{&c.thresh1, &c.thresh2, &c.thresh3} {
		n, err := readInt(h, fmt.Sprintf("%s%d", dir, i+1))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return c, err
		}
		*into = probes.Some(n)
	}
	if _, err := h.Stat("/proc/sys/net/" + family); err == nil {
		c.entries = probes.Some(seen)
	}
	name := "/proc/net/stat/" + cache
	text, err := readText(h, name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	rows, err := columns(text)
	if err != nil {
		return c, fmt.Errorf("reading %s: %w", name, err)
	}
	if n, ok := rows[0]["entries"]; ok { // the same number in every CPU's line
		c.entries = probes.Some(int(n))
	}
	if _, ok := rows[0]["table_fulls"]; ok {
		sum := 0
		for _, row := range rows {
			sum += int(row["table_fulls"])
		}
		c.overflows = probes.Some(sum)
	}
	return c, nil
}

func neighbours(cur neighboursRaw, prev *neighboursRaw, dt time.Duration) (neighboursFacts, error) {
	f := neighboursFacts{
		IPv4: cur.v4.facts(), IPv6: cur.v6.facts(), Gateways: cur.gateways,
		Resolved: cur.resolved, Failed: cur.failed, Waiting: cur.asking,
	}
	if prev != nil {
		f.IPv4.Overflows = growth(cur.v4.overflows, prev.v4.overflows, dt)
		f.IPv6.Overflows = growth(cur.v6.overflows, prev.v6.overflows, dt)
	}
	return f, nil
}

func (c neighbourCounts) facts() neighbourTable {
	t := neighbourTable{Entries: c.entries, GCThresh1: c.thresh1, GCThresh2: c.thresh2, Max: c.thresh3}
	entries, ok := c.entries.Get()
	if limit, known := c.thresh3.Get(); ok && known && limit > 0 {
		t.UsedPct = probes.Some(percent(float64(entries), float64(limit)))
	}
	return t
}

// growth is the rate of a counter that may not be there.
func growth(cur, prev probes.Opt[int], dt time.Duration) probes.Opt[float64] {
	c, ok := cur.Get()
	p, known := prev.Get()
	if !ok || !known {
		return probes.None[float64]()
	}
	return rate(uint64(c), uint64(p), dt)
}
