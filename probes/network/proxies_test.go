package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestProxies(t *testing.T) {
	const files = machine + "-- /proc/sys/kernel/hostname --\nweb\n-- /etc/nsswitch.conf --\nhosts: files dns\n"
	check(t, Proxies, []row{
		{
			"for everybody, dead", files + "-- /etc/environment --\nPATH=/bin\n#http_proxy=http://10.1.1.1:1\nhttp_proxy=http://10.0.0.9:3128\nhttps_proxy=\"http://user:secret@10.0.0.9:3128/\"\nno_proxy=localhost\n-- connect 10.0.0.9:3128 --\n!timeout\n",
			probes.OK,
			[]string{`[{"proxy":"10.0.0.9:3128","places":["/etc/environment line 3 (http_proxy)","/etc/environment line 4 (https_proxy)"],"file":"/etc/environment","for_all":true,"units":[],"address":"10.0.0.9","answers":false,"why":"no answer"}]`},
		},
		{
			"a unit's", files + "-- /etc/systemd/system/docker.service.d/http-proxy.conf --\n[Service]\nEnvironment=HTTP_PROXY=http://127.0.0.1:3128 \"HTTPS_PROXY=http://127.0.0.1:3128\"\n-- connect 127.0.0.1:3128 --\n!refused\n",
			probes.OK,
			[]string{`"places":["/etc/systemd/system/docker.service.d/http-proxy.conf line 2 (HTTP_PROXY)","/etc/systemd/system/docker.service.d/http-proxy.conf line 2 (HTTPS_PROXY)"]`, `"units":["docker.service"]`, `"answers":false,"why":"connection refused"`},
		},
		{
			"a shell's, by name", files + "-- /etc/profile.d/proxy.sh --\nexport http_proxy=http://proxy.example.com:3128 https_proxy=$http_proxy\nproxy_on() {\n  export http_proxy=http://10.1.1.1:7890\n}\nalias on='export http_proxy=http://10.1.1.2:7890'\n" +
				"-- dns 10.0.0.2:53 proxy.example.com. A --\n{\"rcode\": \"NOERROR\", \"answers\": [\"10.0.0.9\"]}\n-- dns 10.0.0.3:53 proxy.example.com. A --\n!timeout\n-- connect 10.0.0.9:3128 --\n2ms\n",
			probes.OK,
			[]string{`[{"proxy":"proxy.example.com:3128","places":["/etc/profile.d/proxy.sh line 1 (http_proxy)"]`, `"address":"10.0.0.9","answers":true,"why":null`},
		},
		{
			"nobody knows its name", files + "-- /etc/wgetrc --\nhttp_proxy = http://cache.example.com:3142\nhttps_proxy = none\n-- dns 10.0.0.2:53 cache.example.com. A --\n{\"rcode\": \"NXDOMAIN\"}\n-- dns 10.0.0.3:53 cache.example.com. A --\n{\"rcode\": \"NXDOMAIN\"}\n",
			probes.OK,
			[]string{`"proxy":"cache.example.com:3142"`, `"address":null,"answers":false,"why":"no name server knows its name"`},
		},
		{
			"the tools' own files", files + "-- /root/.curlrc --\nproxy = 10.0.0.7:8080\n-- /etc/gitconfig --\n[http]\n\tproxy = http://10.0.0.7:8080\n-- /etc/pip.conf --\n[global]\nproxy=_none_\n-- /etc/docker/daemon.json --\n{\"proxies\": {\"http-proxy\": \"http://10.0.0.7:8080\"}}\n-- connect 10.0.0.7:8080 --\n!timeout\n",
			probes.OK,
			[]string{`"places":["/etc/gitconfig line 2 (proxy)","/etc/docker/daemon.json line 1 (http-proxy)","/root/.curlrc line 1 (proxy)"]`},
		},
		{"without a port", files + "-- /etc/environment --\nhttp_proxy=http://10.0.0.9\n", probes.OK, []string{`"answers":{"unreadable":"no port is given`}},
		{"an old capture", files + "-- /etc/environment --\nhttp_proxy=http://10.0.0.9:1\n", probes.OK, []string{`"answers":{"unreadable"`}},
		{"one account's", files + "-- /home/ann/.bashrc --\nexport ALL_PROXY=socks5://127.0.0.1:1080\n-- connect 127.0.0.1:1080 --\n!refused\n", probes.OK, []string{`"for_all":false`}},
		{"switched off", files + "-- /etc/environment --\nhttp_proxy=\nhttps_proxy=\"\"\n", probes.Nothing, []string{"no proxy is configured"}},
		{"none", files, probes.Nothing, []string{"no proxy is configured"}},
	})
}
