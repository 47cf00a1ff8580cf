package linux

import "testing"

func TestEnvironment(t *testing.T) {
	const locales = "-- /usr/lib/locale/C.utf8/x --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as it should be", locales + "-- /etc/environment --\nPATH=\"/usr/local/bin:/usr/bin\"\nLANG=C.UTF-8\n-- /etc/profile --\nif [ x ]; then\n  PATH=\"/x\"\nfi\nf() {\numask 777\n}\nif [ y ]; then PATH=/x; fi\nexport PATH=$PATH:/opt/bin\numask 077\n" +
			"-- /run/systemd/system/x --\n-- /etc/machine-id --\n0123456789abcdef0123456789abcdef\n", map[string]string{"problems": "[]", "machine_id": `""`, "localtime": `""`, "linker_cache_missing": "false"}},
		{"what breaks programs", locales + "-- /etc/environment --\nPATH=/opt/bin\nLD_PRELOAD=/gone.so\n-- /etc/default/locale --\nLANG=de_DE.UTF-8\n-- /etc/profile.d/x.sh --\numask 777\n", map[string]string{
			"problems[/etc/environment:1].kind": `"path"`, "problems[/etc/environment:2].kind": `"missing"`, "problems[/etc/default/locale:1].kind": `"locale"`, "problems[/etc/profile.d/x.sh:1].kind": `"umask"`,
		}},
		{"an archive of locales", "-- /usr/lib/locale/locale-archive --\nx\n-- /etc/locale.conf --\nLANG=de_DE.UTF-8\n", map[string]string{"problems": "[]"}},
		{"time zones", "-- /usr/share/zoneinfo/Asia/Shanghai --\n-- /etc/environment --\nTZ=Asia/Shangai\n-- /etc/profile --\nTZ=CST-8\nTZ=:Asia/Shanghai\n", map[string]string{
			"problems[/etc/environment:1].kind": `"zone"`, "problems[/etc/profile:1]": "none",
		}},
		{"nothing identifies it", "-- /etc/ld.so.conf --\n-- /sbin/ldconfig --\n-- /run/systemd/system/x --\n-- /etc/machine-id --\n-- /etc/localtime -> /usr/share/zoneinfo/Asia/Bejing --\n", map[string]string{
			"machine_id": `"empty"`, "localtime": `"/usr/share/zoneinfo/Asia/Bejing"`, "linker_cache_missing": "true",
		}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Environment, observe(t, Environment, c.capture), c.want) })
	}
}
