package probes

import (
	"context"
	"sync"
)

// shared is what the probes of one run have found out for each other.
type shared struct {
	mu    sync.Mutex
	found map[string]func() (any, error)
}

type sharedKey struct{}

func withShared(ctx context.Context) context.Context {
	return context.WithValue(ctx, sharedKey{}, &shared{found: map[string]func() (any, error){}})
}

// Share answers what several probes of one run need. The first that asks finds it out, under its own time limit; the others wait for
// it and get the same answer, which nobody may change. Probes that take two samples must not share what they sample.
func Share[T any](ctx context.Context, name string, find func() (T, error)) (T, error) {
	s, ok := ctx.Value(sharedKey{}).(*shared)
	if !ok { // not in a run
		return find()
	}
	s.mu.Lock()
	once := s.found[name]
	if once == nil {
		once = sync.OnceValues(func() (any, error) { return find() })
		s.found[name] = once
	}
	s.mu.Unlock()
	v, err := once()
	answer, _ := v.(T)
	return answer, err
}
