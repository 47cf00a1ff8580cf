package linux

import "testing"

func TestConntrack(t *testing.T) {
	const table = `
-- /proc/sys/net/netfilter/nf_conntrack_count --
60000
-- /proc/sys/net/netfilter/nf_conntrack_max --
65536
-- /proc/sys/net/netfilter/nf_conntrack_buckets --
16384
`
	const stat = `
-- /proc/net/stat/nf_conntrack --
entries  insert_failed drop early_drop
0000ea60 00000000 00000001 00000000
0000ea60 00000000 00000001 00000000
-- /proc/net/stat/nf_conntrack @1s --
entries  insert_failed drop early_drop
0000ea60 00000002 00000010 00000003
0000ea60 00000000 00000001 00000000
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"it drops", table + stat + `-- /sys/kernel/slab/nf_conntrack/slab_size --
256
`, map[string]string{
			"count": "60000", "max": "65536", "used_pct": "91.552734375", "buckets": "16384", "entry_bytes": "256",
			"drops_per_s": "15", "early_drops_per_s": "3", "insert_failed_per_s": "2",
		}},
		{"not root, and a kernel without the statistics", table + "-- /sys/kernel/slab/nf_conntrack/slab_size !permission --\n", map[string]string{
			"entry_bytes": "320", "drops_per_s": "null",
		}},
		{"an older kernel without early_drop", table + "-- /proc/net/stat/nf_conntrack --\nentries drop\n0 0\n", map[string]string{
			"drops_per_s": "0", "early_drops_per_s": "null",
		}},
		{"no limit", table + "-- /proc/sys/net/netfilter/nf_conntrack_max @0s --\n0\n", map[string]string{"max": "0", "used_pct": "null"}},
		{"not loaded", "", map[string]string{"(reason)": "the nf_conntrack module is not loaded"}},
		{"half there", "-- /proc/sys/net/netfilter/nf_conntrack_count --\n1\n", map[string]string{"(reason)": "nf_conntrack_max"}},
		{"odd", table + "-- /proc/net/stat/nf_conntrack --\nentries drop\n", map[string]string{"(reason)": "no line after the heading"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Conntrack, observe(t, Conntrack, c.capture), c.want) })
	}
}
