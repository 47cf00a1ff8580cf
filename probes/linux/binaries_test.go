package linux

import "testing"

func TestBinaries(t *testing.T) {
	const dpkg = "-- /var/lib/dpkg/info/procps.md5sums --\n0001  usr/bin/top\n0002  bin/ps\n0003  usr/share/doc/procps/ps\n-- /var/lib/dpkg/info/bash.md5sums --\n0004  bin/bash\n" +
		"-- /var/lib/dpkg/info/bash.list mtime=2025-01-02T00:00:00Z --\n-- /bin/ps mtime=2025-12-31T00:00:00Z --\n-- /usr/bin/top --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as installed", dpkg + "-- /bin/bash mtime=2024-12-01T00:00:00Z --\n-- md5 /bin/ps --\n\"0002\"\n-- md5 /usr/bin/top --\n\"0001\"\n", map[string]string{"checked": "2", "changed": "[]"}},
		{"ps and bash are others", dpkg + "-- /bin/bash mtime=2025-06-01T00:00:00Z --\n-- md5 /bin/ps --\n\"0005\"\n-- md5 /usr/bin/top --\n\"0001\"\n-- md5 /bin/bash --\n\"0006\"\n", map[string]string{
			"checked": "3", "changed[/bin/ps].package": `"procps"`, "changed[/bin/ps].age": `"24h0m0s"`, "changed[/bin/bash].package": `"bash"`, "changed[/usr/bin/top]": "none",
		}},
		{"on purpose", dpkg + "-- /var/lib/dpkg/diversions --\n/bin/ps\n/bin/ps.real\nlocal\n-- md5 /usr/bin/top --\n\"0001\"\n", map[string]string{"checked": "1", "changed": "[]"}},
		{"closed", dpkg + "-- md5 /bin/ps --\n!permission\n-- md5 /usr/bin/top --\n\"0001\"\n", map[string]string{"changed": `{"items":[],"more":1,"why":"md5 /bin/ps: permission denied"}`}},
		{"no dpkg", "-- /usr/bin/ps --\n", map[string]string{"checked": "0", "changed": "[]"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Binaries, observe(t, Binaries, c.capture), c.want) })
	}
}
