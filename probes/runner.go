package probes

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Runner carries out probes against a source. Every field but Source and Probes may be left zero. A Runner remembers
// the last sample of each probe for the rates of the next run, and which probes are still stuck in the kernel.
type Runner[S any] struct {
	Source S
	Probes []Probe[S]
	Can    Needs // what this process has: Root, Network

	// Interval between the two samples of a rate where there is no earlier one; 0: one second.
	Interval time.Duration
	// Parallel is how many probes compute at once; 0: the number of CPUs. Probes that wait for the network do not count.
	Parallel int
	// Progress, if set, is told after each probe how many of how many have ended. Calls do not overlap.
	Progress func(done, all int)
	// Clock is the source's clock; nil: the real one.
	Clock Clock

	mu   sync.Mutex
	last map[string]sample    // latest sample of each probe with rates
	busy map[string]time.Time // runs that are under way or have not come back, by start
}

// Clock tells the time and lets it pass.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// sample is what a probe read at one time, before facts are made of it.
type sample struct {
	raw any
	at  time.Time
}

// maxWaiting bounds the probes that wait for the network at once; more than there are today, so that a dead network
// costs one timeout and not several in a row.
const maxWaiting = 64

// Run asks the probes whose facts want names, and answers when all have come back or their time was up. A probe that
// panics has failed; one that sits in the kernel (a dead NFS server, a task in D state) is left behind, and not started
// again until it has come back.
func (r *Runner[S]) Run(ctx context.Context, want Want) *Snapshot {
	began, at := time.Now(), r.clock().Now()
	var list []Probe[S]
	for _, p := range r.Probes {
		if _, asked := want[p.Name]; asked || want == nil {
			list = append(list, p)
		}
	}
	run := &run[S]{
		Runner: r, want: want, list: list, obs: make([]Observation, len(list)),
		computing: make(chan struct{}, r.parallel()), waiting: make(chan struct{}, maxWaiting),
	}
	run.all(withShared(ctx))
	return &Snapshot{At: at, Took: time.Since(began), Observations: run.obs}
}

func (r *Runner[S]) clock() Clock {
	if r.Clock != nil {
		return r.Clock
	}
	return realClock{}
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runner[S]) parallel() int {
	if r.Parallel > 0 {
		return r.Parallel
	}
	return runtime.GOMAXPROCS(0)
}

func (r *Runner[S]) interval() time.Duration {
	if r.Interval > 0 {
		return r.Interval
	}
	return time.Second
}

// run is one call of Runner.Run.
type run[S any] struct {
	*Runner[S]
	want      Want
	list      []Probe[S]
	obs       []Observation
	computing chan struct{} // a place per probe that computes
	waiting   chan struct{} // a place per probe that waits for the network

	telling sync.Mutex
	done    int
}

// all fills obs: the first samples of rates, then everything else while the second ones ripen, then these. In a replay time only
// passes where the Runner sleeps, so everything else sees the time of the first samples.
func (r *run[S]) all(ctx context.Context) {
	var firsts, rest, seconds sync.WaitGroup
	var meanwhile []func()
	prev := make([]*sample, len(r.list))
	ripening := make([]bool, len(r.list))
	for i, p := range r.list {
		if missing := p.Needs &^ r.Can; missing != 0 {
			r.end(i, Observation{Status: Skipped, Reason: "needs " + missing.String()})
			continue
		}
		if p.sampled {
			prev[i] = r.previous(p.Name)
		}
		switch {
		case p.Needs&Network != 0:
			rest.Go(func() { r.observe(ctx, i, prev[i]) })
		case !p.sampled || prev[i] != nil:
			meanwhile = append(meanwhile, func() { r.observe(ctx, i, prev[i]) })
		default:
			ripening[i] = true
			firsts.Go(func() { prev[i] = r.first(ctx, i) })
		}
	}
	firsts.Wait()
	began := r.clock().Now()
	for _, f := range meanwhile {
		rest.Go(f)
	}
	rest.Wait()
	if slices.Contains(ripening, true) {
		// An error is ctx's, which the second samples will meet too.
		_ = r.clock().Sleep(ctx, r.interval()-r.clock().Now().Sub(began))
	}
	for i := range r.list {
		if ripening[i] && prev[i] != nil {
			seconds.Go(func() { r.observe(ctx, i, prev[i]) })
		}
	}
	seconds.Wait()
}

// first takes the first of two samples; without one the probe has failed.
func (r *run[S]) first(ctx context.Context, i int) *sample {
	s, took, err := r.take(ctx, r.list[i])
	r.obs[i].Took = took
	if err != nil {
		r.end(i, failure(err))
		return nil
	}
	return &s
}

// observe takes the probe's (last) sample and makes its facts.
func (r *run[S]) observe(ctx context.Context, i int, prev *sample) {
	p := r.list[i]
	cur, took, err := r.take(ctx, p)
	r.obs[i].Took += took
	if err != nil {
		r.end(i, failure(err))
		return
	}
	if p.sampled {
		r.remember(p.Name, cur)
	}
	facts, err := derive(p, cur, prev)
	if err != nil {
		r.end(i, failure(err))
		return
	}
	r.end(i, Observation{Status: OK, Facts: facts, At: cur.at})
}

// derive calls the probe's own function, which may panic on what it did not expect.
func derive[S any](p Probe[S], cur sample, prev *sample) (v Value, err error) {
	defer recovered(&err)
	if prev == nil {
		return p.derive(cur.raw, nil, 0)
	}
	return p.derive(cur.raw, prev.raw, cur.at.Sub(prev.at))
}

func failure(err error) Observation {
	if errors.Is(err, ErrNoData) {
		return Observation{Status: Nothing, Reason: err.Error()}
	}
	return Observation{Status: Failed, Reason: err.Error()}
}

// end records how probe i ended.
func (r *run[S]) end(i int, o Observation) {
	o.Probe, o.Took = r.list[i].Name, r.obs[i].Took
	if o.At.IsZero() {
		o.At = r.clock().Now()
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	r.obs[i] = o
	r.done++
	if r.Progress != nil {
		r.Progress(r.done, len(r.list))
	}
}

func (r *run[S]) previous(name string) *sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.last[name]; ok {
		return &s
	}
	return nil
}

func (r *run[S]) remember(name string, s sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[string]sample{}
	}
	r.last[name] = s
}

// take runs a probe's sampling function under its time limit. The function may ignore the limit, for the kernel does: then
// the goroutine, and the thread that it sits on, are given up.
func (r *run[S]) take(ctx context.Context, p Probe[S]) (sample, time.Duration, error) {
	place := r.computing
	if p.Needs&Network != 0 || p.Waits {
		place = r.waiting
	}
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return sample{}, 0, context.Cause(ctx)
	}
	if since, ok := r.begin(p.Name); !ok {
		return sample{}, 0, fmt.Errorf("an earlier run has not come back since %s", since.Format(time.TimeOnly))
	}
	limit := p.Info().Timeout
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		sample
		err error
	}
	back := make(chan result, 1)
	began := time.Now()
	go func() {
		var res result
		defer func() { r.over(p.Name); back <- res }()
		defer recovered(&res.err)
		res.raw, res.err = p.sample(ctx, r.Source, r.want)
		res.at = r.clock().Now()
	}()
	// A probe that heeds its context gets a moment more, to say what it was waiting for.
	grace := time.NewTimer(limit + 100*time.Millisecond)
	defer grace.Stop()
	select {
	case res := <-back:
		return res.sample, time.Since(began), res.err
	case <-grace.C:
		return sample{}, time.Since(began), fmt.Errorf("did not come back within %s", limit)
	}
}

// begin notes that a probe runs, unless an earlier run of it is still under way: then it says since when.
func (r *run[S]) begin(name string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since, ok := r.busy[name]; ok {
		return since, false
	}
	if r.busy == nil {
		r.busy = map[string]time.Time{}
	}
	r.busy[name] = r.clock().Now()
	return time.Time{}, true
}

func (r *run[S]) over(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, name)
}

// recovered turns a panic into an error: one probe's bug must not cost the others' answers.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("[unexpected] panic: %v\n%s", p, debug.Stack())
	}
}
