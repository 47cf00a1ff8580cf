package linux

import "testing"

func TestTrustStore(t *testing.T) {
	const has = "-- /usr/sbin/update-ca-certificates --\n#\n"
	const one = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"
	const file = "-- /etc/ssl/certs/ca-certificates.crt 0644 0:0 --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"as it should be", has + file + one + one, map[string]string{"problem": `""`, "certificates": "2"}},
		{"empty", has + file, map[string]string{"problem": `"empty"`, "certificates": "0"}},
		{"gone", has + "-- /etc/ssl/certs/x --\n", map[string]string{"problem": `"missing"`, "certificates": "null"}},
		{"closed", has + "-- /etc/ssl/certs/ca-certificates.crt 0600 0:0 --\n" + one, map[string]string{"problem": `"closed"`, "mode": `"0600"`}},
		{"its directory is closed", has + "-- /etc/ssl/certs/ 0700 0:0 --\n" + file + one, map[string]string{"problem": `"closed"`, "where": `"/etc/ssl/certs"`}},
		{"cut short", has + file + one + "-----BEGIN CERTIFICATE-----\nAA\n", map[string]string{"problem": `"cut"`}},
		{"something else", has + file + "hello\n", map[string]string{"problem": `"none"`}},
		{"switched off", has + file + one + "-- /etc/ca-certificates.conf --\n# x\nmozilla/a.crt\n!mozilla/b.crt\n!mozilla/c.crt\n", map[string]string{"problem": `"deselected"`, "expected": "3"}},
		{"on RHEL", "-- /usr/bin/update-ca-trust --\n#\n-- /etc/pki/tls/certs/ca-bundle.crt -> /etc/pki/ca-trust/x.pem --\n-- /etc/pki/ca-trust/x.pem 0444 0:0 --\n" + one, map[string]string{"problem": `""`}},
		{"not installed", "-- /etc/ssl/certs/x --\n", map[string]string{"(reason)": "no package of authorities' certificates is installed"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, TrustStore, observe(t, TrustStore, c.capture), c.want) })
	}
}
