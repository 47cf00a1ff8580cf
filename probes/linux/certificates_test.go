package linux

import "testing"

func TestCertificateUses(t *testing.T) {
	const nginx = "-- /run/nginx.pid --\n7\n-- /etc/nginx/nginx.conf --\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"chosen by the name that is asked for", nginx + "ssl_certificate /etc/nginx/ssl/$ssl_server_name.crt;\nssl_certificate_key /etc/nginx/ssl/$ssl_server_name.key;\n-- /etc/nginx/ssl/old.crt --\nx\n", map[string]string{
			"(reason)": "no server that it knows is configured with a certificate",
		}},
		{"beside one by name", nginx + "ssl_certificate /etc/nginx/ssl/$ssl_server_name.crt;\nssl_certificate ssl/a.crt;\n", map[string]string{"list[/etc/nginx/ssl/a.crt].server": `"nginx"`}},
		{"HAProxy's directory", "-- /run/haproxy.pid --\n7\n-- /etc/haproxy/haproxy.cfg --\nglobal\n\tcrt-base /etc/ssl/sites\nfrontend x\n\tbind :443 ssl crt a.pem\n", map[string]string{"list[/etc/ssl/sites/a.pem].server": `"haproxy"`}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Certificates, observe(t, Certificates, c.capture), c.want) })
	}
}
