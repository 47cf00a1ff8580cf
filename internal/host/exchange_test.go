package host

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// speak serves connections on a Unix socket with f.
func speak(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f(conn)
		}
	}()
	return name
}

func TestExchange(t *testing.T) {
	echo := speak(t, func(c net.Conn) {
		buf := make([]byte, 64)
		n, _ := c.Read(buf)
		_, _ = c.Write(append([]byte("\xffyou said "), buf[:n]...))
		c.Close()
	})
	greets := speak(t, func(c net.Conn) { _, _ = c.Write([]byte("hello\x00")) })
	long := speak(t, func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("x", maxBody+10))) })
	silent := speak(t, func(net.Conn) {})
	for _, c := range []struct {
		name string
		q    Question
		want string
		err  error
	}{
		{"it answers and closes", Question{Socket: echo, Say: "PING", UntilClose: true}, "\uFFFDyou said PING", nil},
		{"it speaks first and stays", Question{Socket: greets}, "hello\x00", nil},
		{"it never ends", Question{Socket: long, UntilClose: true}, strings.Repeat("x", maxBody), nil},
		{"it is silent", Question{Socket: silent, Say: "PING"}, "", context.DeadlineExceeded},
		{"nobody is there", Question{Socket: "127.0.0.1:1"}, "", syscall.ECONNREFUSED},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			got, err := (&Local{Offline: true}).Exchange(ctx, c.q)
			if got.Text != c.want || !errors.Is(err, c.err) {
				t.Errorf("%.40q, %v; want %.40q, %v", got.Text, err, c.want, c.err)
			}
		})
	}
	if _, err := (&Local{}).Exchange(t.Context(), Question{Socket: "192.0.2.1:80"}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another machine: %v; want a refusal at once", err)
	}
}
