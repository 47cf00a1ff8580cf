package linux

import (
	"context"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Qdiscs reads the queueing disciplines.
var Qdiscs = probes.DefineSampled(probes.Probe[host.Host]{
	Name: "qdiscs",
	Doc: `Queueing disciplines

Asks the kernel by netlink, twice. Costs 0.1 ms. noqueue, which queues nothing, is left out. A shaper (tbf, htb) drops on purpose,
and so does fq_codel when the queue stands: a few drops there are how TCP is told to slow down.`,
	Every: 10 * time.Second,
}, qdiscsSample, qdiscs)

type qdiscsFacts struct {
	All []qdiscFacts `fact:"all" doc:"Every queueing discipline but noqueue"`
}

type qdiscFacts struct {
	Place     string              `fact:"place,key" doc:"Interface and parent: eth0 root, eth0 1:2"`
	Interface string              `fact:"interface" doc:"The interface"`
	Virtual   bool                `fact:"virtual" doc:"The interface was made by software: a container's veth, a bridge, a tunnel"`
	Kind      string              `fact:"kind" doc:"fq_codel, mq, pfifo_fast, netem, tbf, …"`
	Root      bool                `fact:"root" doc:"It is the interface's own, and not part of another"`
	Options   string              `fact:"options" doc:"Of netem the delay, loss and so on; of tbf the rate; else empty"`
	Backlog   int                 `fact:"backlog" unit:"bytes" doc:"Queued now"`
	Packets   probes.Opt[float64] `fact:"packets_per_s" unit:"1/s" doc:"Passed; absent, as all rates, until there are two samples"`
	Drops     probes.Opt[float64] `fact:"drops_per_s" unit:"1/s" doc:"Dropped"`
	DropPct   probes.Opt[float64] `fact:"drop_pct" unit:"%" doc:"Dropped, as part of all that came"`
}

type qdiscsRaw struct {
	links map[int]host.Link
	all   []host.Qdisc
}

func qdiscsSample(ctx context.Context, h host.Host) (qdiscsRaw, error) {
	raw := qdiscsRaw{links: map[int]host.Link{}}
	links, err := h.Links(ctx)
	if err != nil {
		return raw, err
	}
	for _, l := range links {
		raw.links[l.Index] = l
	}
	raw.all, err = h.Qdiscs(ctx)
	return raw, err
}

func qdiscs(cur qdiscsRaw, prev *qdiscsRaw, dt time.Duration) (qdiscsFacts, error) {
	type id struct {
		link           int
		parent, handle string
	}
	before := map[id]host.Qdisc{}
	if prev != nil {
		for _, q := range prev.all {
			before[id{q.Link, q.Parent, q.Handle}] = q
		}
	}
	f := qdiscsFacts{}
	for _, q := range cur.all {
		link, ok := cur.links[q.Link]
		if q.Kind == "noqueue" || !ok {
			continue
		}
		d := qdiscFacts{
			Place: link.Name + " " + q.Parent, Interface: link.Name, Virtual: link.Kind != "", Kind: q.Kind, Root: q.Parent == "root",
			Options: q.Options, Backlog: int(q.Backlog),
		}
		if p, ok := before[id{q.Link, q.Parent, q.Handle}]; ok {
			d.Packets, d.Drops = rate(q.Packets, p.Packets, dt), rate(q.Drops, p.Drops, dt)
			d.DropPct = share(d.Packets, d.Drops)
		}
		f.All = append(f.All, d)
	}
	return f, nil
}
