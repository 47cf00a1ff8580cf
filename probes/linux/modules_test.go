package linux

import "testing"

func TestModules(t *testing.T) {
	const base = "-- /proc/filesystems --\nnodev\ttmpfs\n\text4\n-- /etc/fstab --\n/dev/vda1 / ext4 defaults 0 1\n/dev/vdb /data xfs defaults 0 2\n" +
		"-- /etc/systemd/system/srv-archive.mount --\n[Mount]\nWhat=/x\nType=udf\n-- /etc/modules-load.d/k8s.conf --\n# for pods\nbr_netfilter\noverlay\n"
	const rules = "-- /etc/modprobe.d/hardening.conf --\ninstall cramfs /bin/false\ninstall xfs /bin/false\ninstall udf /usr/bin/true\nblacklist br-netfilter\n# blacklist overlay\noptions overlay x=1\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"nothing is forbidden", base, map[string]string{"forbidden": "[]", "disabled": "false"}},
		{"what is asked for is", base + rules, map[string]string{
			"forbidden[xfs].where": `"/etc/modprobe.d/hardening.conf:2"`, "forbidden[xfs].needed_by": `"/data in /etc/fstab"`, "forbidden[udf].needed_by": `"srv-archive.mount"`,
			"forbidden[br_netfilter].line": `"blacklist br-netfilter"`, "forbidden[br_netfilter].needed_by": `"/etc/modules-load.d/k8s.conf"`, "forbidden[overlay]": "none", "forbidden[cramfs]": "none",
		}},
		{"it is loaded", base + rules + "-- /sys/module/br_netfilter/ --\n-- /proc/filesystems @0s --\n\text4\n\txfs\n\tudf\n", map[string]string{"forbidden": "[]"}},
		{"no module may be loaded", base + "-- /proc/sys/kernel/modules_disabled --\n1\n", map[string]string{"disabled": "true", "forbidden[xfs].where": `"kernel.modules_disabled"`}},
		{"no kernel", "", map[string]string{"(reason)": "filesystems"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Modules, observe(t, Modules, c.capture), c.want) })
	}
}
