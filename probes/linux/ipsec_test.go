package linux

import "testing"

func TestIPsec(t *testing.T) {
	const stat = "-- /proc/net/xfrm_stat --\nXfrmInError             \t0\nXfrmInPolBlock          \t2\nXfrmOutPolBlock         \t12\n"
	for _, tt := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"a policy blocks", stat + "-- $ ip xfrm policy --\nsrc 172.16.0.10/32 dst 203.0.113.0/24 \n\tdir out action block priority 1000 \nsrc 10.0.0.0/8 dst 10.1.0.0/16 \n\tdir out priority 0 \n\ttmpl src 192.0.2.1 dst 192.0.2.2\n\t\tproto esp reqid 1 mode tunnel\n", map[string]string{
			"blocked": "14", "policies[src 172.16.0.10/32 dst 203.0.113.0/24 dir out].direction": `"out"`, "policies[src 10.0.0.0/8 dst 10.1.0.0/16 dir out].direction": "none",
		}},
		{"nothing was blocked, and nothing is run", "-- /proc/net/xfrm_stat --\nXfrmOutPolBlock         \t0\n", map[string]string{"blocked": "0", "policies": "[]"}},
		{"it cannot be listed", stat + "-- $ ip xfrm policy --\n!exit 1\n", map[string]string{"(reason)": "exit 1"}},
		{"not a number", "-- /proc/net/xfrm_stat --\nXfrmOutPolBlock x\n", map[string]string{"(reason)": "is not a count"}},
		{"no IPsec", "", map[string]string{"(reason)": "the kernel has no IPsec"}},
	} {
		t.Run(tt.name, func(t *testing.T) { wantFacts(t, IPsec, observe(t, IPsec, tt.capture), tt.want) })
	}
}
