package linux

import "testing"

func TestPackages(t *testing.T) {
	const dpkg = "-- /usr/bin/dpkg --\nELF\n-- /var/lib/dpkg/info/x --\n-- /var/lib/dpkg/updates/ --\n-- /usr/lib/apt/methods/http --\n-- /usr/lib/apt/methods/https --\n"
	const status = "-- /var/lib/dpkg/status --\nPackage: a\nStatus: install ok installed\n\nPackage: b\nStatus: hold ok installed\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"well", dpkg + status + "-- /etc/apt/sources.list --\n# x\ndeb [arch=amd64 signed-by=/etc/apt/a.gpg] http://deb.debian.org/debian bookworm main\ndeb http://x.example/ ./\n-- /etc/apt/a.gpg 0644 0:0 --\nx\n" +
			"-- /etc/apt/sources.list.d/d.sources --\nTypes: deb\nURIs: https://a.example/\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n\n# nothing\n-- /etc/apt/apt.conf.d/50x --\n// a \" b\nAPT { A \"1\"; B { \"x\"; }; };\n", map[string]string{"unfinished": "[]", "sources": "[]", "database": `""`, "installed": "2"}},
		{"left half-way", dpkg + status + "\nPackage: c\nStatus: install ok half-configured\n\nPackage: d\nStatus: install reinstreq half-installed\n", map[string]string{"unfinished[c].state": `"half-configured"`, "unfinished[d].state": `"reinstreq"`, "installed": "4"}},
		{"empty", dpkg + "-- /var/lib/dpkg/status --\n", map[string]string{"database": `"empty"`}},
		{"gone", dpkg, map[string]string{"database": `"missing"`}},
		{"damaged", dpkg + "-- /var/lib/dpkg/status --\nkage: a\n", map[string]string{"database": `"damaged"`}},
		{"sources", dpkg + status + "-- /etc/apt/sources.list --\ndep http://a.example/ x main\ndeb http://a.example/ x\ndeb http//a.example x main\ndeb tor://a.example x main\ndeb [signed-by=/gone] http://a.example/ x main\n" +
			"-- /etc/apt/sources.list.d/d.sources --\n\nTypes: deb\nSuites: x\n", map[string]string{
			"sources[/etc/apt/sources.list:1].kind": `"malformed"`, "sources[/etc/apt/sources.list:2].kind": `"malformed"`, "sources[/etc/apt/sources.list:3].kind": `"malformed"`,
			"sources[/etc/apt/sources.list:4].kind": `"method"`, "sources[/etc/apt/sources.list:5].what": `"/gone"`, "sources[/etc/apt/sources.list.d/d.sources:2].what": `"uris"`,
		}},
		{"configuration", dpkg + status + "-- /etc/apt/apt.conf.d/99x --\nAcquire::Retries \"3\"\n-- /etc/apt/apt.conf.d/y.bak --\n{\n", map[string]string{"sources[/etc/apt/apt.conf.d/99x].kind": `"config"`, "sources[/etc/apt/apt.conf.d/y.bak]": "none"}},
		{"a user who is gone", dpkg + status + "-- /var/lib/dpkg/statoverride --\nshop root 755 /x\n-- /etc/passwd --\nroot:x:0:0::/:/bin/sh\n-- /etc/group --\nroot:x:0:\n", map[string]string{"sources[/var/lib/dpkg/statoverride:1].what": `"shop"`}},
		{"no dpkg", "-- /etc/hosts --\n", map[string]string{"(reason)": "dpkg is not installed"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Packages, observe(t, Packages, c.capture), c.want) })
	}
}
