package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes"
)

func TestPackageMirror(t *testing.T) {
	const files = machine + "-- /proc/sys/kernel/hostname --\nweb\n-- /etc/nsswitch.conf --\nhosts: files dns\n"
	const apt = "-- /etc/apt/sources.list --\n# deb http://mirrors.aliyun.com/debian x main\ndeb http://mirrors.cloud.aliyuncs.com/debian bookworm main\n"
	asked := func(first, second string) string {
		return "-- dns 10.0.0.2:53 mirrors.cloud.aliyuncs.com. A --\n" + first + "\n-- dns 10.0.0.3:53 mirrors.cloud.aliyuncs.com. A --\n" + second + "\n"
	}
	const has = `{"rcode": "NOERROR", "answers": ["c.example.", "100.100.2.148"]}`
	check(t, PackageMirror, []row{
		{"it answers", files + apt + asked(has, "!timeout") + "-- connect 100.100.2.148:80 --\n2ms\n", probes.OK, []string{
			`"name":"mirrors.cloud.aliyuncs.com","kind":"cloud","file":"/etc/apt/sources.list","port":80,"address":"100.100.2.148","answers":true,"why":null,"missing":null,"took":"2ms"`,
		}},
		{"no route", files + apt + asked(has, has) + "-- connect 100.100.2.148:80 --\n!timeout\n", probes.OK, []string{`"answers":false,"why":"no answer"`}},
		{"refused", files + apt + asked(has, has) + "-- connect 100.100.2.148:80 --\n!refused\n", probes.OK, []string{`"answers":false,"why":"connection refused"`}},
		{"unknown outside the cloud", files + apt + asked(`{"rcode": "NXDOMAIN"}`, "!timeout"), probes.OK, []string{`"address":null,"answers":false,"why":"no name server knows it"`}},
		{"no name server answers", files + apt + asked("!timeout", "!timeout"), probes.OK, []string{`"answers":{"unreadable":"no name server answers for it`}},
		{"they are ill", files + apt + asked(`{"rcode": "SERVFAIL"}`, `{"rcode": "REFUSED"}`), probes.OK, []string{`"answers":{"unreadable"`}},
		{"pinned in /etc/hosts, by https", files + "-- /etc/hosts --\n10.0.0.7 mirrors.cloud.aliyuncs.com\n-- /etc/yum.repos.d/a.repo --\n[off]\nbaseurl=http://mirrors.cloud.aliyuncs.com/x\nenabled = 0\n[on]\nenabled=1\nbaseurl=https://mirrors.cloud.aliyuncs.com/y\n-- connect 10.0.0.7:443 --\n2ms\n", probes.OK, []string{
			`"file":"/etc/yum.repos.d/a.repo","port":443,"address":"10.0.0.7","answers":true`,
		}},
		{"switched off", files + "-- /etc/yum.repos.d/a.repo --\n[off]\nbaseurl=http://mirrors.cloud.aliyuncs.com/x\nenabled=0\n-- /etc/apt/sources.list.d/d.sources --\nTypes: deb\nURIs: http://mirrors.cloud.aliyuncs.com/debian\nEnabled: no\n", probes.Nothing, []string{"no mirror of a cloud"}},
		{"a proxy that is gone", files + apt + "-- /etc/apt/apt.conf.d/80proxy --\n// Acquire::http::Proxy \"http://10.0.0.8:3128\";\nAcquire::http { Proxy \"http://user:x@10.0.0.9:3128/\"; }\n-- connect 10.0.0.9:3128 --\n!refused\n", probes.OK, []string{
			`{"mirrors":[{"name":"10.0.0.9:3128","kind":"proxy","file":"/etc/apt/apt.conf.d/80proxy","port":3128,"address":"10.0.0.9","answers":false,"why":"connection refused","missing":null,"took":null}]}`,
		}},
		{"a site's mirror", files + "-- /etc/apt/sources.list --\ndeb http://deb.debian.org/debian x main\ndeb http://10.0.0.7:8081/apt ./\n-- connect 10.0.0.7:8081 --\n!timeout\n", probes.OK, []string{
			`"name":"10.0.0.7","kind":"site","file":"/etc/apt/sources.list","port":8081,"address":"10.0.0.7","answers":false`,
		}},
		{"on the internet, which it need not reach", files + "-- /etc/apt/sources.list --\ndeb http://203.0.113.7/apt ./\n-- connect 203.0.113.7:80 --\n!timeout\n", probes.OK, []string{`"answers":null,"why":"no answer"`}},
		{"an old capture", files + apt, probes.OK, []string{`"answers":{"unreadable"`}},
		{"gone from the mirror", files + apt + asked(has, has) + "-- connect 100.100.2.148:80 --\n2ms\n-- get http://100.100.2.148:80/debian/dists/bookworm/InRelease --\n{\"status\":404,\"took\":1}\n-- get http://100.100.2.148:80/debian/dists/bookworm/Release --\n{\"status\":404,\"took\":1}\n", probes.OK, []string{
			`"answers":true,"why":null,"missing":"/debian/dists/bookworm"`,
		}},
		{"another mirror", files + "-- /etc/apt/sources.list --\ndeb http://deb.debian.org/debian bookworm main\n", probes.Nothing, []string{"no mirror of a cloud"}},
	})
}
