package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestNTPOffset(t *testing.T) {
	const chrony = "-- /etc/chrony/chrony.conf --\n# server 9.9.9.9\npool pool.example.com iburst\nserver 10.0.0.7 iburst minpoll 4\nsourcedir /etc/chrony/sources.d /run/chrony-dhcp\n" +
		"-- /etc/chrony/sources.d/a.sources --\nserver 10.0.0.8\n-- /etc/chrony/sources.d/README --\nserver 10.0.0.9\n"
	good := func(server, offset string) string {
		return "-- sntp " + server + " --\n{\"offset\":" + offset + ",\"rtt\":1000000,\"stratum\":2}\n"
	}
	check(t, NTPOffset, []row{
		{"the median of three", chrony + good("pool.example.com", "1000000") + good("10.0.0.7", "-90000000000") + good("10.0.0.8", "-2000000"), probes.OK, []string{
			`{"name":"pool.example.com","offset":"1ms","rtt":"1ms","stratum":2,"why":null}`, `"answers":3,"offset":"-2ms","off_by":"2ms"`,
		}},
		{"two do not count", chrony + good("pool.example.com", "5000000000") + "-- sntp 10.0.0.7 --\n!timeout\n-- sntp 10.0.0.8 --\n{\"offset\":1,\"rtt\":1,\"stratum\":16}\n", probes.OK, []string{
			`{"name":"10.0.0.7","offset":null,"rtt":null,"stratum":null,"why":"no answer"}`, `"stratum":16,"why":"it is not synchronised itself"`,
			`"answers":1,"offset":"5s","off_by":"5s"`,
		}},
		{"nobody answers", chrony + "-- sntp pool.example.com --\n!timeout\n-- sntp 10.0.0.7 --\n!refused\n-- sntp 10.0.0.8 --\n!noroute\n", probes.OK, []string{`"answers":0,"offset":null,"off_by":null`}},
		{"timesyncd", "-- /etc/systemd/timesyncd.conf --\n[Time]\n#NTP=a\nNTP=t1.example.com t2.example.com\n-- /etc/systemd/timesyncd.conf.d/x.conf --\n[Time]\nFallbackNTP=t1.example.com\n" +
			good("t1.example.com", "0") + good("t2.example.com", "0"), probes.OK, []string{`"answers":2`}},
		{"ntpd, and no clock of its own", "-- /etc/ntp.conf --\nserver 127.127.1.0\nserver n.example.com\n" + good("n.example.com", "0"), probes.OK, []string{`"servers":[{"name":"n.example.com"`, `"answers":1`}},
		{"the cloud's own", "-- /sys/class/dmi/id/product_name --\nAlibaba Cloud ECS\n" + good("ntp.cloud.aliyuncs.com", "0"), probes.OK, []string{`"answers":1`}},
		{"not asked when it was captured", chrony, probes.Failed, []string{"not in the capture"}},
		{"none is configured", "", probes.Nothing, []string{"no time server is configured"}},
	})
}
