package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestMetadata(t *testing.T) {
	const get = "-- get http://100.100.100.200/latest/meta-data/instance-id --\n"
	item := func(name, answer string) string {
		return "-- get http://100.100.100.200/latest/meta-data/instance/" + name + " --\n{" + answer + `,"took":1000000}` + "\n"
	}
	here := machine + "-- /sys/class/dmi/id/product_name --\nAlibaba Cloud ECS\n-- route-to 100.100.100.200 --\n" +
		`{"dst":"0.0.0.0/0","gw":"10.0.0.1","link":2,"table":254,"type":"unicast"}` + "\n"
	check(t, Metadata, []row{
		{"answers", here + get + `{"status":200,"body":"i-bp1","took":2000000}` + "\n", probes.OK, []string{
			`"reachable":true,"status":200,"token_required":false,"instance_id":"i-bp1","took":"2ms","interface":"eth0","gateway":"10.0.0.1","why":null`,
		}},
		{"says what the type may", here + get + `{"status":200,"body":"i-bp1","took":2000000}` + "\n" + item("max-netbw-egress", `"status":200,"body":"1024000"`) +
			item("max-netbw-ingress", `"status":404,"body":""`) + item("instance-type-spec/max-connections", `"status":200,"body":"250000\n"`), probes.OK, []string{
			`"egress_max":1.28e+08,"ingress_max":null,"sessions_max":250000`,
		}},
		{"wants a token", here + get + `{"status":403,"body":"","took":2000000}` + "\n", probes.OK, []string{`"reachable":true,"status":403,"token_required":true,"instance_id":null`}},
		{"somebody else's server", here + get + `{"status":502,"body":"","took":2000000}` + "\n", probes.OK, []string{`"reachable":false,"status":502`, `"why":"it answered Bad Gateway"`}},
		{"silent", here + get + "!timeout\n", probes.OK, []string{`"reachable":false,"status":null`, `"took":null`, `"why":"no answer"`}},
		{
			"no way there", machine + "-- /run/cloud-init/cloud-id --\naliyun\n-- route-to 100.100.100.200 --\n!noroute\n" + get + "!noroute\n", probes.OK,
			[]string{`"reachable":false`, `"interface":null,"gateway":null,"why":"network is unreachable"`},
		},
		{"nobody asked when it was captured", here, probes.Failed, []string{"not in the capture"}},
		{"another cloud", machine + "-- /sys/class/dmi/id/product_name --\nGoogle Compute Engine\n", probes.Nothing, []string{"this is no Alibaba Cloud instance"}},
		{"DMI cannot be read", "-- /sys/class/dmi/id/product_name !permission --\n", probes.Failed, []string{"permission denied"}},
	})
}
