package network

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

// ladder is what pings of every size are answered on a path that carries mtu bytes: larger ones are answered with lost.
func ladder(target string, mtu int, lost string) string {
	var b strings.Builder
	for size := smallPing; size <= 1500; size++ {
		answer := `{"rtt":1000}`
		if size > mtu {
			answer = lost
		}
		fmt.Fprintf(&b, "-- ping %s %d df --\n%s\n", target, size, answer)
	}
	return b.String()
}

func TestPathMTU(t *testing.T) {
	eth0 := machine + "-- route-to 10.0.0.2 --\n{\"dst\":\"10.0.0.0/24\",\"link\":2,\"table\":254,\"type\":\"unicast\"}\n"
	gateway := ladder("10.0.0.1", 1500, "!timeout")
	check(t, PathMTU, []row{
		{"all is well", eth0 + gateway + ladder("10.0.0.2", 1500, "!timeout"), probes.OK, []string{
			`{"target":"10.0.0.1","role":"gateway","interface":"eth0","link_mtu":1500,"answers":true,"mtu":1500,"reported":null,"black_hole":false,"why":null}`,
			`{"target":"10.0.0.2","role":"resolver","interface":"eth0","link_mtu":1500,"answers":true,"mtu":1500`,
		}},
		{"a hole above 1400", eth0 + gateway + ladder("10.0.0.2", 1400, "!timeout"), probes.OK, []string{`"answers":true,"mtu":1400,"reported":null,"black_hole":true,"why":"no answer"`}},
		{"a hole above 1383", eth0 + gateway + ladder("10.0.0.2", 1383, "!timeout"), probes.OK, []string{`"reported":null,"black_hole":true`}},
		{"a router speaks up", eth0 + gateway + ladder("10.0.0.2", 1400, `{"rtt":0,"too_big":1400}`), probes.OK, []string{`"mtu":1400,"reported":1400,"black_hole":false`}},
		{"nothing but the smallest passes", eth0 + gateway + ladder("10.0.0.2", smallPing, "!timeout"), probes.OK, []string{`"black_hole":{"unreadable":"even packets that every network carries got no answer"}`}},
		{"ignores pings", eth0 + gateway + ladder("10.0.0.2", 0, "!timeout"), probes.OK, []string{`"target":"10.0.0.2"`, `"answers":false,"mtu":null,"reported":null,"black_hole":{"unreadable":"it answers no pings"},"why":"no answer"`}},
		{
			"not permitted", eth0 + ladder("10.0.0.1", 0, "!permission") + ladder("10.0.0.2", 0, "!permission"), probes.OK,
			[]string{`"answers":{"unreadable":"ping 10.0.0.1 1500 df: permission denied"},"mtu":null,"reported":null,"black_hole":{"unreadable":`},
		},
		{"nobody to ask", "-- links --\n-- routes --\n", probes.Nothing, []string{"there is no gateway"}},
	})
}

// lossy loses every nth ping of those that its host would answer.
type lossy struct {
	host.Host
	nth  int64
	sent *atomic.Int64
}

func (l lossy) Ping(ctx context.Context, p host.Ping) (host.Pong, error) {
	pong, err := l.Host.Ping(ctx, p)
	if err == nil && l.sent.Add(1)%l.nth == 0 {
		return host.Pong{}, context.DeadlineExceeded
	}
	return pong, err
}

// TestPathMTUWithLoss has a path on which size matters, and one on which packets are lost at random too: of the latter it must not be
// said that it is a black hole.
func TestPathMTUWithLoss(t *testing.T) {
	for _, tt := range []struct {
		nth  int64
		want probes.Kind
	}{{1 << 40, probes.Bool}, {4, probes.Unreadable}} {
		h, err := hosttest.Parse([]byte(ladder("10.0.0.2", 1400, "!timeout")))
		if err != nil {
			t.Fatal(err)
		}
		p := mtuPath{Target: "10.0.0.2", LinkMTU: 1500}
		p.explore(t.Context(), lossy{h, tt.nth, &atomic.Int64{}})
		hole, known := p.BlackHole.Get()
		if known != (tt.want == probes.Bool) || known && !hole {
			t.Errorf("one of %d lost: black hole %v, known %v", tt.nth, hole, known)
		}
	}
}
