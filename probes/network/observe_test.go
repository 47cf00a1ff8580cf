package network

import (
	"strings"
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

// machine is a captured host with one interface, a gateway and two name servers that are well.
const machine = `at: 2026-01-01T00:00:00Z
-- links --
{"index":1,"name":"lo","mtu":65536}
{"index":2,"name":"eth0","mtu":1500}
-- routes --
{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast","metric":100}
{"dst":"10.0.0.0/24","link":2,"table":254,"type":"unicast"}
{"dst":"0.0.0.0/0","gw":"10.9.9.9","link":2,"table":100,"type":"unicast"}
-- /etc/resolv.conf --
search example.com
nameserver 10.0.0.2
nameserver 10.0.0.3
options timeout:2 rotate
`

// row is a row of a test: what is captured, and fragments of the facts' JSON, or of the reason why there are none.
type row struct {
	name, capture string
	status        probes.Status
	want          []string
}

func check(t *testing.T, p probes.Probe[host.Host], rows []row) {
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			h, err := hosttest.Parse([]byte(tt.capture))
			if err != nil {
				t.Fatal(err)
			}
			r := probes.Runner[host.Host]{Source: h, Probes: []probes.Probe[host.Host]{p}, Can: probes.Root | probes.Network, Clock: h}
			o := r.Run(t.Context(), nil).Observations[0]
			got := o.Reason
			if o.Status == probes.OK {
				got = string(p.Info().Facts.AppendJSON(nil, &o.Facts))
			}
			if o.Status != tt.status {
				t.Fatalf("%s: %s; want %s", o.Status, got, tt.status)
			}
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %s in\n%s", w, got)
				}
			}
		})
	}
}
