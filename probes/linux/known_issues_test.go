package linux

import (
	"strings"
	"testing"
)

func TestKnownIssues(t *testing.T) {
	host := func(osRelease, kernel, cpu, more string) string {
		return "-- /etc/os-release --\n" + osRelease + "-- /proc/sys/kernel/osrelease --\n" + kernel + "\n-- /proc/cpuinfo --\nprocessor	: 0\nvendor_id	: GenuineIntel\nmodel name	: " + cpu +
			"\n-- /proc/self/mountinfo --\n30 1 254:0 / / rw - ext4 /dev/vda1 rw\n" + more
	}
	onXFS := func(capture string) string { return strings.ReplaceAll(capture, "- ext4 ", "- xfs ") }
	const xeon, hfg6 = "Intel(R) Xeon(R) CPU E5-2682 v4 @ 2.50GHz", `-- /run/cloud-init/instance-data.json --
{"ds":{"meta_data":{"instance":{"instance-type":"ecs.hfg6.large"}}}}
`
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"hfg6 with CentOS 8", host("ID=\"centos\"\nVERSION_ID=\"8\"\n", "4.18.0-240.1.1.el8_3.x86_64", "x", hfg6), map[string]string{
			"issues[hfg6-centos8-panic].severity": `"warning"`, "instance_type": `"ecs.hfg6.large"`,
		}},
		{"its kernel before that", host("ID=\"centos\"\nVERSION_ID=\"8\"\n", "4.18.0-193.28.1.el8_2.x86_64", "x", hfg6), map[string]string{"issues": "[]"}},
		{"its kernel after that", host("ID=\"centos\"\nVERSION_ID=\"8\"\n", "4.18.0-305.el8.x86_64", "x", hfg6), map[string]string{"issues": "[]"}},
		{"RHEL, of which nobody says so", host("ID=\"rhel\"\nVERSION_ID=\"8.3\"\n", "4.18.0-240.el8.x86_64", "x", hfg6), map[string]string{"issues": "[]"}},
		{"another family", host("ID=\"centos\"\nVERSION_ID=\"8\"\n", "4.18.0-240.el8.x86_64", "x", ""), map[string]string{"issues": "[]", "instance_type": "null"}},
		{"SLES", host("ID=\"sles\"\nVERSION_ID=\"12.5\"\n", "4.12.14-122.26-default", xeon, "-- /proc/cmdline --\nroot=/dev/vda1 quiet\n"), map[string]string{
			"issues[sles12sp5-mwait-hang].source": `"https://github.com/AlibabaCloudDocs/ecs/blob/fd6c2b6a35e8e04a54e4c71a9f81c6fa0d01cfc4/intl.en-US/Images/Public%20image/Known%20issues.md"`,
		}},
		{"SLES with idle=nomwait", host("ID=\"sles\"\nVERSION_ID=\"12.5\"\n", "4.12.14-122.26-default", xeon, "-- /proc/cmdline --\nroot=/dev/vda1 idle=nomwait\n"), map[string]string{"issues": "[]"}},
		{"ext4 of 6.1.65, and its successor", host("ID=arch\n", "6.1.65-1-lts", "x", ""), map[string]string{"issues[ext4-corruption-6.1.64].severity": `"critical"`}},
		{"6.1.65 without ext4", onXFS(host("ID=arch\n", "6.1.65-1-lts", "x", "")), map[string]string{"issues": "[]"}},
		{"Debian's 6.1.0-14", host("ID=debian\nVERSION_ID=12\n", "6.1.0-14-amd64", "x", ""), map[string]string{"issues[ext4-corruption-debian-6.1.0-14].severity": `"critical"`}},
		{"Debian's 6.1.0-14 without ext4", onXFS(host("ID=debian\nVERSION_ID=12\n", "6.1.0-14-amd64", "x", "")), map[string]string{"issues": "[]"}},
		{"6.1.66", host("ID=arch\n", "6.1.66-1-lts", "x", ""), map[string]string{"issues": "[]"}},
		{"CentOS 7.6", host("ID=centos\nVERSION_ID=7\n", "3.10.0-957.el7.x86_64", "x", "-- /sys/module/virtio_blk/version --\n1\n"), map[string]string{"issues[centos7-mq-deadline-panic].severity": `"warning"`}},
		{"CentOS 7.6, updated", host("ID=centos\nVERSION_ID=7\n", "3.10.0-957.21.3.el7.x86_64", "x", "-- /sys/module/virtio_blk/version --\n1\n"), map[string]string{"issues": "[]"}},
		{"the distribution may not be read", "-- /etc/os-release !permission --\n-- /proc/sys/kernel/osrelease --\n6.1.0\n-- /proc/self/mountinfo --\n30 1 254:0 / / rw - ext4 /dev/vda1 rw\n-- /proc/cpuinfo --\n\n", map[string]string{"issues": `{"items":[],"more":1,"why":"the distribution could not be read"}`}},
		{"no kernel release", "", map[string]string{"(reason)": "osrelease"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, KnownIssues, observe(t, KnownIssues, c.capture), c.want) })
	}
}

func TestKnownIssueTable(t *testing.T) {
	table, err := knownIssueTable()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, i := range table {
		if seen[i.ID] || i.Source == "" || i.What.EN == "" || i.What.ZH == "" || i.Remedy.EN == "" || i.Remedy.ZH == "" || i.Severity == "" {
			t.Errorf("%q is there twice, or lacks a text or its source", i.ID)
		}
		seen[i.ID] = true
	}
}

func TestCompareReleases(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"4.18.0-240.1.1.el8_3.x86_64", "4.18.0-240", 1}, {"4.18.0-80.el8", "4.18.0-240", -1}, {"6.1.64", "6.1.64", 0}, {"2.6.32-696.el6", "2.6.32-696.11", -1}, {"odd", "1", -1},
	} {
		if got := compareReleases(c.a, c.b); got != c.want {
			t.Errorf("%s to %s: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
