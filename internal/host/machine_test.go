package host

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// TestMachine asks about this machine, whichever it is. gopsutil remembers its first answer, so the environment that must not
// mislead it is set first.
func TestMachine(t *testing.T) {
	empty := t.TempDir()
	for _, name := range []string{"HOST_PROC", "HOST_ETC", "HOST_ROOT", "HOST_SYS"} {
		t.Setenv(name, empty)
	}
	var l Local
	m, err := l.Machine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains([]string{"", "guest", "host"}, m.Role) {
		t.Errorf("role %q", m.Role)
	}
	if _, err := l.Lstat("/.dockerenv"); err == nil && m != (Machine{"docker", "guest"}) {
		t.Errorf("%+v, but there is /.dockerenv", m)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Machine(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
}
