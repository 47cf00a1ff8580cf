package linux

import (
	"testing"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

const sysctls = `
-- /proc/sys/net/core/somaxconn --
4096
-- /proc/sys/net/ipv4/tcp_rmem --
4096	131072	6291456
-- /proc/sys/net/ipv4/tcp_congestion_control --
cubic
-- /proc/sys/net/ipv4/conf/all/rp_filter --
0
-- /proc/sys/net/ipv4/conf/eth0.100/rp_filter --
1
-- /proc/sys/net/ipv4/route/flush !permission --
-- /proc/sys/net/ipv6/conf/all/stable_secret --
2001:db8::1
-- /proc/sys/fs/file-max --
18446744073709551615
-- /proc/sys/kernel/panic --
-1
-- /proc/version --
7
`

func TestSysctl(t *testing.T) {
	h, err := hosttest.Parse([]byte(sysctls))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		probe probes.Probe[host.Host]
		keys  []string
		want  string
	}{
		{Sysctl, []string{"net.core.somaxconn"}, `{"net.core.somaxconn":4096}`},
		{Sysctl, []string{"net.core.somaxcon"}, `{}`},
		{Sysctl, []string{"kernel.panic", "fs.file-max"}, `{"fs.file-max":9223372036854775807,"kernel.panic":-1}`},
		{Sysctl, []string{"net.ipv4.conf.eth0/100.rp_filter"}, `{"net.ipv4.conf.eth0/100.rp_filter":1}`},
		{Sysctl, []string{"net.ipv4.tcp_rmem"}, `{"net.ipv4.tcp_rmem":{"unreadable":"net.ipv4.tcp_rmem is \"4096\\t131072\\t6291456\", which is not one number: sysctl_text and sysctl_list have it"}}`},
		{Sysctl, []string{"//.version"}, `{"//.version":{"unreadable":"\"//.version\" is not the name of a kernel parameter"}}`},
		{Sysctl, nil, `{"fs.file-max":9223372036854775807,"kernel.panic":-1,"net.core.somaxconn":4096,"net.ipv4.conf.all.rp_filter":0}`},
		{SysctlList, []string{"net.ipv4.tcp_rmem"}, `{"net.ipv4.tcp_rmem":[4096,131072,6291456]}`},
		{SysctlList, []string{"net.ipv4.tcp_congestion_control"}, `{"net.ipv4.tcp_congestion_control":{"unreadable":"net.ipv4.tcp_congestion_control is \"cubic\", which is not a list of numbers: sysctl_text has it"}}`},
		{SysctlText, []string{"net.ipv4.tcp_congestion_control"}, `{"net.ipv4.tcp_congestion_control":"cubic"}`},
		{SysctlText, []string{"net.ipv6.conf.all.stable_secret"}, `{"net.ipv6.conf.all.stable_secret":{"unreadable":"net.ipv6.conf.all.stable_secret is not read"}}`},
		{SysctlText, []string{"net.ipv4.route.flush"}, `{"net.ipv4.route.flush":{"unreadable":"open /proc/sys/net/ipv4/route/flush: permission denied"}}`},
	} {
		r := probes.Runner[host.Host]{Source: h, Probes: []probes.Probe[host.Host]{c.probe}, Clock: h}
		o := r.Run(t.Context(), probes.Want{c.probe.Name: c.keys}).Observations[0]
		if o.Status != probes.OK {
			t.Errorf("%s%q: %s: %s", c.probe.Name, c.keys, o.Status, o.Reason)
			continue
		}
		if got := string(c.probe.Info().Facts.AppendJSON(nil, &o.Facts)); got != c.want {
			t.Errorf("%s%q = %s\nwant %s", c.probe.Name, c.keys, got, c.want)
		}
	}
	wantFacts(t, Sysctl, observe(t, Sysctl, ""), map[string]string{"(reason)": "there is no /proc/sys"})
}
