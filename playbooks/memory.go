package playbooks

import (
	"hash/maphash"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// Memory is what must be remembered of one host between snapshots: since when each finding holds. The zero Memory is empty. It
// is not safe for concurrent use.
//
// A finding counts once it has held for as long as its playbook asks. A no resets that; an unknown neither resets nor counts. A
// finding that counted and disappears is remembered for as long again: when it comes back within that time it goes on, so that a
// value that swings around its threshold is one finding and not many.
type Memory struct {
	episodes map[string]map[string]*episode // by playbook and object

	// For Changed: what the playbooks said last, and a machine to ask them again.
	lib     *Library
	machine *machine
	said    []uint64
	asked   []uint32
	round   uint32
}

// episode is the time in which a finding holds.
type episode struct {
	since, last time.Time
	counted     bool
}

// holds notes that a finding holds, and returns since when, and whether that is long enough.
func (mem *Memory) holds(p *playbook, object string, at time.Time) (time.Time, bool) {
	if mem == nil {
		return at, p.For == 0
	}
	if mem.episodes == nil {
		mem.episodes = map[string]map[string]*episode{}
	}
	objects := mem.episodes[p.ID]
	if objects == nil {
		objects = map[string]*episode{}
		mem.episodes[p.ID] = objects
	}
	e := objects[object]
	if e == nil {
		e = &episode{since: at}
		objects[object] = e
	}
	e.last = at
	e.counted = e.counted || at.Sub(e.since) >= p.For
	return e.since, e.counted
}

// meeting collects what a playbook said of each object, to forget those that no longer hold.
type meeting struct {
	mem  *Memory
	p    *playbook
	yes  map[string]bool
	held map[string]bool
	all  bool
}

func (mem *Memory) begin(p *playbook) *meeting { return &meeting{mem: mem, p: p} }

// add notes a yes; false: there was one for this object already.
func (mt *meeting) add(object string) bool {
	if mt.yes[object] {
		return false
	}
	if mt.yes == nil {
		mt.yes = map[string]bool{}
	}
	mt.yes[object] = true
	return true
}

func (mt *meeting) doubt(object string) {
	if mt.held == nil {
		mt.held = map[string]bool{}
	}
	mt.held[object] = true
}

func (mt *meeting) doubtAll() { mt.all = true }

// end forgets what no longer holds.
func (mt *meeting) end(at time.Time) {
	if mt.mem == nil || mt.all {
		return
	}
	for object, e := range mt.mem.episodes[mt.p.ID] {
		if mt.yes[object] || mt.held[object] || e.counted && mt.p.For > 0 && at.Sub(e.last) < mt.p.For {
			continue
		}
		delete(mt.mem.episodes[mt.p.ID], object)
	}
}

var seed = maphash.MakeSeed()

// Changed judges only the playbooks whose verdict depends on one of the facts, named as [Library.Readers] wants them, and reports
// whether any of them says something else than before: then, or when something pending may be ripe, [Library.Match] has news.
// The first call judges everything.
func (l *Library) Changed(snap *probes.Snapshot, facts []string, mem *Memory) bool {
	first := mem.lib != l
	if first {
		mem.lib, mem.machine = l, l.machine(snap)
		mem.said, mem.asked = make([]uint64, len(l.playbooks)), make([]uint32, len(l.playbooks))
	}
	mem.machine.look(l.schema, snap)
	mem.round++
	news := first
	ask := func(i int) {
		if mem.asked[i] == mem.round {
			return
		}
		mem.asked[i] = mem.round
		said := l.playbooks[i].says(mem.machine)
		news = news || said != mem.said[i]
		mem.said[i] = said
	}
	if first {
		for i := range l.playbooks {
			ask(i)
		}
		return true
	}
	for _, fact := range facts {
		l.each(fact, ask)
	}
	return news
}

// says sums up what a playbook makes of a snapshot.
func (p *playbook) says(m *machine) uint64 {
	var sum uint64
	overall, _, _ := p.verdicts(m, func(object string, t truth) {
		if t != no {
			sum = sum*31 + maphash.String(seed, object)*4 + uint64(t)
		}
	})
	return sum*4 + uint64(overall)
}

// each visits the playbooks whose verdict depends on a fact, some more than once.
func (l *Library) each(fact string, visit func(i int)) {
	name := fact
	for i := range len(fact) {
		if fact[i] == '.' || fact[i] == '[' {
			name = fact[:i]
			break
		}
	}
	if name == fact {
		for _, i := range l.ofProbe[name] {
			visit(i)
		}
		return
	}
	for _, i := range l.readers[fact] {
		visit(i)
	}
	for _, i := range l.ofWhole[name] {
		visit(i)
	}
}
