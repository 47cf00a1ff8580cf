package network

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hostmend/hostmend/internal/host/hosttest"
	"github.com/hostmend/hostmend/probes"
)

func TestPaths(t *testing.T) {
	pong := func(addr, answer string) string { return "-- ping " + addr + " --\n" + answer + "\n" }
	check(t, Paths, []row{
		{"all answer", machine + pong("10.0.0.1", `{"rtt":250000}`) + pong("10.0.0.2", `{"rtt":500000}`) + pong("10.0.0.3", `{"rtt":400000}`), probes.OK, []string{
			`{"address":"10.0.0.1","role":"gateway","sent":5,"received":5,"loss_pct":0,"rtt":"250µs","rtt_max":"250µs"}`,
			`"answering":3,"loss_pct":0,"least_loss_pct":0,"least_rtt":"250µs"`,
		}},
		{"slow", machine + pong("10.0.0.1", `{"rtt":200000000}`) + pong("10.0.0.2", `{"rtt":210000000}`) + pong("10.0.0.3", "!timeout"), probes.OK, []string{
			`"address":"10.0.0.1","role":"gateway","sent":20,"received":20`, `"address":"10.0.0.3","role":"resolver","sent":5,"received":0,"loss_pct":null`, `"answering":2`,
		}},
		{"nobody answers", machine + pong("10.0.0.1", "!timeout") + pong("10.0.0.2", "!unreachable") + pong("10.0.0.3", "!timeout"), probes.OK, []string{
			`"answering":0,"loss_pct":null,"least_loss_pct":null,"least_rtt":null`,
		}},
		{"pinging is not permitted", machine + pong("10.0.0.1", "!permission") + pong("10.0.0.2", "!permission") + pong("10.0.0.3", "!permission"), probes.Failed, []string{"permission denied"}},
		{"nowhere to go", "-- links --\n-- routes --\n-- /etc/resolv.conf --\nnameserver 127.0.0.53\n", probes.Nothing, []string{"neither a gateway"}},
	})
}

func TestPathsOf(t *testing.T) {
	targets := []Target{{netip.MustParseAddr("10.0.0.1"), "gateway"}, {netip.MustParseAddr("10.0.0.2"), "resolver"}}
	f := pathsOf(targets, []pings{{sent: 20, rtts: []time.Duration{3, 1, 2, 4, 5}}, {sent: 20, rtts: []time.Duration{9, 9, 9, 9, 9, 9, 9, 9, 9, 9}}})
	least, _ := f.LeastLoss.Get()
	rtt, _ := f.LeastRTT.Get()
	if loss, _ := f.Loss.Get(); loss != 62.5 {
		t.Errorf("loss %v of all, want 62.5", loss)
	}
	if least != 50 || rtt != 1 || f.Answering != 2 {
		t.Errorf("loss %v, round trip %v, %d answer; want 50, 1ns and 2", least, rtt, f.Answering)
	}
}

func TestENI(t *testing.T) {
	item := func(name, body string) string {
		return "-- get http://100.100.100.200/latest/meta-data/" + name + ` --` + "\n" + `{"status":200,"body":"` + body + `"}` + "\n"
	}
	const mac1, mac2 = "00:16:3e:00:00:10", "00:16:3e:00:00:11"
	nic := func(mac, addr, mask, gw string) string {
		return item(macsFolder+mac+"/primary-ip-address", addr) + item(macsFolder+mac+"/netmask", mask) + item(macsFolder+mac+"/gateway", gw)
	}
	here := "-- /run/cloud-init/cloud-id --\naliyun\n-- links --\n" +
		`{"index":1,"name":"lo","flags":73}` + "\n" + `{"index":2,"name":"eth0","mac":"00:16:3E:00:00:10","flags":69699}` + "\n" +
		`{"index":3,"name":"eth1","mac":"` + mac2 + `","flags":4098}` + "\n-- addrs --\n"
	const right = `{"link":2,"prefix":"172.16.0.10/24","scope":"global"}` + "\n"
	check(t, ENI, []row{
		{"one, as it should be", here + right + item(macsFolder, mac1+"/") + nic(mac1, "172.16.0.10", "255.255.255.0", "172.16.0.253"), probes.OK, []string{
			`{"mac":"00:16:3e:00:00:10","primary":true,"address":"172.16.0.10","prefix":24,"gateway":null,"interface":"eth0","up":true,"has_address":true,"host_prefix":24,"other_addresses":[],"address_on":null,"vpc":`,
		}},
		{
			"a second one, down", here + right + item("mac", mac1) + item(macsFolder, mac1+`/\n`+mac2+"/") +
				nic(mac1, "172.16.0.10", "255.255.240.0", "") + nic(mac2, "172.16.1.11", "255.255.255.0", "172.16.1.253"),
			probes.OK,
			[]string{
				`"prefix":20`, `"host_prefix":24`,
				`{"mac":"00:16:3e:00:00:11","primary":false,"address":"172.16.1.11","prefix":24,"gateway":"172.16.1.253","interface":"eth1","up":false,"has_address":false,"host_prefix":null`,
			},
		},
		{"the address is on another interface", here + `{"link":3,"prefix":"172.16.0.10/24","scope":"global"}` + "\n" + item(macsFolder, mac1+"/") + nic(mac1, "172.16.0.10", "255.0.255.0", "172.16.0.253"), probes.OK, []string{
			`"prefix":null`, `"has_address":false,"host_prefix":null,"other_addresses":[],"address_on":"eth1"`,
		}},
		{"it wants a token", here + strings.ReplaceAll(item(macsFolder, ""), "200,", "403,"), probes.Nothing, []string{"wants a token"}},
		{"it does not know", here + strings.ReplaceAll(item(macsFolder, ""), "200,", "404,"), probes.Failed, []string{"Not Found"}},
		{"another cloud", "-- links --\n", probes.Nothing, []string{"no Alibaba Cloud instance"}},
	})
	if _, err := hosttest.Parse([]byte(here)); err != nil {
		t.Fatal(err)
	}
}
