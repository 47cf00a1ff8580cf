package linux

import "testing"

func TestSysctlExtremes(t *testing.T) {
	const usual = "-- /proc/sys/net/ipv4/tcp_retries2 --\n15\n-- /proc/sys/vm/dirty_bytes --\n0\n-- /proc/sys/vm/dirty_ratio --\n20\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"usual, and an old kernel that lacks most", usual, map[string]string{"list": "[]"}},
		{
			"left from a test", "-- /proc/sys/net/ipv4/tcp_retries2 --\n1\n-- /etc/sysctl.d/90-test.conf --\n# test\nnet.ipv4.tcp_retries2 = 1\n",
			map[string]string{"list[net.ipv4.tcp_retries2].value": "1", "list[net.ipv4.tcp_retries2].file": `"/etc/sysctl.d/90-test.conf:2"`},
		},
		{"bytes hold, not the ratio", "-- /proc/sys/vm/dirty_bytes --\n67108864\n-- /proc/sys/vm/dirty_ratio --\n0\n", map[string]string{"list": "[]"}},
		{"odd", "-- /proc/sys/net/ipv4/tcp_retries2 --\nx\n", map[string]string{"list": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, SysctlExtremes, observe(t, SysctlExtremes, c.capture), c.want) })
	}
}
