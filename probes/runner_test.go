package probes

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// source is a machine of the tests: what a probe reads of it is a function.
type source struct{}

type facts struct {
	N int `fact:"n" unit:"count" doc:"a number"`
}

type rates struct {
	PerS Opt[float64] `fact:"per_s" unit:"1/s" doc:"a rate"`
}

const doc = "A title\n\nA text."

func plain(name string, collect func(context.Context, source) (facts, error)) Probe[source] {
	return Define(Probe[source]{Name: name, Doc: doc}, collect)
}

func answers(n int) func(context.Context, source) (facts, error) {
	return func(context.Context, source) (facts, error) { return facts{n}, nil }
}

func counter(name string, next func() int) Probe[source] {
	return DefineSampled(Probe[source]{Name: name, Doc: doc},
		func(context.Context, source) (int, error) { return next(), nil },
		func(cur int, prev *int, dt time.Duration) (rates, error) {
			if prev == nil {
				return rates{}, nil
			}
			return rates{Some(float64(cur-*prev) / dt.Seconds())}, nil
		})
}

// statuses is a snapshot as "name:status", in order.
func statuses(s *Snapshot) string {
	var all []string
	for _, o := range s.Observations {
		all = append(all, o.Probe+":"+o.Status.String())
	}
	return strings.Join(all, " ")
}

func TestRunnerStatuses(t *testing.T) {
	r := &Runner[source]{Probes: []Probe[source]{
		plain("fine", answers(7)),
		plain("broken", func(context.Context, source) (facts, error) { return facts{}, errors.New("reading x: odd") }),
		plain("none", func(context.Context, source) (facts, error) { return facts{}, NoData("there is no swap") }),
		plain("panics", func(context.Context, source) (facts, error) { panic("index out of range") }),
		Define(Probe[source]{Name: "root_only", Doc: doc, Needs: Root | Network}, answers(1)),
	}, Can: Network}
	s := r.Run(t.Context(), nil)
	if got, want := statuses(s), "fine:ok broken:failed none:no data panics:failed root_only:skipped"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for name, want := range map[string]string{
		"broken": "reading x: odd", "none": "there is no swap", "panics": "panic: index out of range", "root_only": "needs root", "fine": "",
	} {
		if got := s.Get(name).Reason; !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: reason %q; want %q", name, got, want)
		}
	}
	if got := s.Get("fine").Facts.At(0).Int(); got != 7 {
		t.Errorf("fine.n = %d", got)
	}
	if s.Get("broken").Facts.Known() {
		t.Error("a failed probe has facts")
	}
}

func TestRunnerRunsOnlyWhatIsWanted(t *testing.T) {
	var asked []string
	var mu sync.Mutex
	note := func(name string) func(context.Context, source) (facts, error) {
		return func(context.Context, source) (facts, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, name)
			return facts{}, nil
		}
	}
	r := &Runner[source]{Probes: []Probe[source]{plain("a", note("a")), plain("b", note("b")), plain("c", note("c"))}}
	s := r.Run(t.Context(), Want{"b": nil})
	if got := statuses(s); got != "b:ok" || !slices.Equal(asked, []string{"b"}) {
		t.Errorf("%s, asked %v; want b only", got, asked)
	}
	if s := r.Run(t.Context(), Want{}); len(s.Observations) != 0 {
		t.Errorf("nothing wanted, but asked %s", statuses(s))
	}
}

func TestRunnerRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r := &Runner[source]{Probes: []Probe[source]{counter("c", func() int { n += 100; return n })}}
		began := time.Now()
		s := r.Run(t.Context(), nil)
		if got := s.Get("c").Facts.At(0); !got.Known() || got.Float() != 100 {
			t.Errorf("one-shot rate %v", got.Float())
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the samples are %s apart", took)
		}
		// The daemon's next run goes by the last sample and does not wait.
		time.Sleep(9 * time.Second)
		s = r.Run(t.Context(), nil)
		if got := s.Get("c").Facts.At(0).Float(); got != 100.0/9 {
			t.Errorf("rate since the last run %v", got)
		}
		if n != 300 {
			t.Errorf("%d samples were taken; want 3", n/100)
		}
	})
}

// TestRunnerGoesOnWithoutTheStuck has a probe that ignores its time limit as a read from a dead NFS server does.
func TestRunnerGoesOnWithoutTheStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := &Runner[source]{Probes: []Probe[source]{
			plain("stuck", func(context.Context, source) (facts, error) { <-release; return facts{}, nil }),
			plain("heeds", func(ctx context.Context, _ source) (facts, error) {
				<-ctx.Done()
				return facts{}, errors.New("waiting for the gateway: " + ctx.Err().Error())
			}),
			plain("fine", answers(1)),
		}, Parallel: 1}
		s := r.Run(t.Context(), nil)
		if got, want := statuses(s), "stuck:failed heeds:failed fine:ok"; got != want {
			t.Errorf("got %s; want %s", got, want)
		}
		if got := s.Get("stuck").Reason; got != "did not come back within 2s" {
			t.Errorf("stuck: %q", got)
		}
		if got := s.Get("heeds").Reason; !strings.Contains(got, "waiting for the gateway") {
			t.Errorf("heeds: %q; want what it was waiting for", got)
		}
		s = r.Run(t.Context(), Want{"stuck": nil})
		if got := s.Get("stuck").Reason; !strings.Contains(got, "has not come back since") {
			t.Errorf("a stuck probe was started again: %q", got)
		}
		close(release)
		synctest.Wait()
		if s = r.Run(t.Context(), Want{"stuck": nil}); s.Get("stuck").Status != OK {
			t.Errorf("after it came back: %s %s", s.Get("stuck").Status, s.Get("stuck").Reason)
		}
	})
}

func TestRunnerStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		r := &Runner[source]{Probes: []Probe[source]{counter("c", func() int { return 1 }), plain("fine", answers(1))}}
		began := time.Now()
		s := r.Run(ctx, nil)
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if got := statuses(s); got != "c:failed fine:ok" {
			t.Errorf("got %s", got)
		}
	})
}

// TestRunnerParallel holds the CPU budget: probes that compute take turns, probes that wait for the network do not.
func TestRunnerParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		wait := func(context.Context, source) (facts, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return facts{}, nil
		}
		list := func(needs Needs) (list []Probe[source]) {
			for _, name := range []string{"a", "b", "c", "d", "e"} {
				list = append(list, Define(Probe[source]{Name: name, Doc: doc, Needs: needs}, wait))
			}
			return list
		}
		for _, tt := range []struct {
			needs Needs
			most  int
		}{{0, 2}, {Network, 5}} {
			most = 0
			r := &Runner[source]{Probes: list(tt.needs), Parallel: 2, Can: Network}
			r.Run(t.Context(), nil)
			if most != tt.most {
				t.Errorf("needs %q: %d at once; want %d", tt.needs, most, tt.most)
			}
		}
	})
}

func TestShare(t *testing.T) {
	var found atomic.Int64
	sharing := func(ctx context.Context, _ source) (facts, error) {
		n, err := Share(ctx, "n", func() (int, error) { return int(found.Add(1)), nil })
		return facts{n}, err
	}
	r := &Runner[source]{Probes: []Probe[source]{plain("a", sharing), plain("b", sharing)}}
	for run := 1; run <= 2; run++ {
		for _, o := range r.Run(t.Context(), nil).Observations {
			if n := o.Facts.At(0).Int(); n != int64(run) {
				t.Errorf("run %d: probe %s got %d", run, o.Probe, n)
			}
		}
	}
	if n, _ := Share(t.Context(), "n", func() (int, error) { return 7, nil }); n != 7 {
		t.Errorf("outside of a run: %d", n)
	}
}

func TestRunnerTellsProgress(t *testing.T) {
	var told []int
	r := &Runner[source]{
		Probes:   []Probe[source]{plain("a", answers(1)), plain("b", answers(1))},
		Progress: func(done, all int) { told = append(told, done, all) },
	}
	r.Run(t.Context(), nil)
	if want := []int{1, 2, 2, 2}; !slices.Equal(told, want) {
		t.Errorf("told %v; want %v", told, want)
	}
}

func TestKeyed(t *testing.T) {
	table := map[string]int{"kernel.pid_max": 4194304, "net.core.somaxconn": 4096}
	var read []string
	p := DefineKeyed(Probe[source]{Name: "sysctl", Doc: doc},
		func(context.Context, source) ([]string, error) {
			return []string{"kernel.pid_max", "net.core.somaxconn", "kernel.secret"}, nil
		},
		func(_ context.Context, _ source, key string) (int, error) {
			read = append(read, key)
			if key == "kernel.secret" {
				return 0, fs.ErrPermission
			}
			if v, ok := table[key]; ok {
				return v, nil
			}
			return 0, fs.ErrNotExist
		})
	r := &Runner[source]{Probes: []Probe[source]{p}}
	v := &r.Run(t.Context(), Want{"sysctl": {"net.core.somaxconn", "net.core.typo"}}).Get("sysctl").Facts
	if got := v.Keys(); !slices.Equal(got, []string{"net.core.somaxconn"}) || v.Lookup("net.core.somaxconn").Int() != 4096 {
		t.Errorf("got the keys %v", got)
	}
	if v.Lookup("net.core.typo") != nil {
		t.Error("a key that the kernel does not have has a value")
	}
	if len(read) != 2 {
		t.Errorf("read %v; want what is wanted and no more", read)
	}
	v = &r.Run(t.Context(), nil).Get("sysctl").Facts
	if v.Len() != 3 || v.Lookup("kernel.secret").Kind() != Unreadable {
		t.Errorf("all: %v, the secret one %s", v.Keys(), v.Lookup("kernel.secret").Kind())
	}
}
