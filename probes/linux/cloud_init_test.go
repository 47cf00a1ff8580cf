package linux

import "testing"

func TestCloudInit(t *testing.T) {
	const installed = "-- /usr/bin/cloud-init 0755 --\n-- /run/systemd/system/ --\n-- /etc/cloud/cloud.cfg --\n"
	const enabled = "-- /etc/systemd/system/cloud-init.target.wants/cloud-final.service -> /lib/systemd/system/cloud-final.service --\n"
	const good = "-- /run/cloud-init/result.json --\n{\"v1\": {\"datasource\": \"DataSourceAliYun\", \"errors\": []}}\n"
	const unknown = "2026-01-01 handlers/__init__.py[WARNING]: Unhandled non-multipart (text/x-not-multipart) userdata: 'b'apt install''...'\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"ran well", installed + enabled + good + "-- /run/cloud-init/status.json --\n{\"v1\":{\"init\":{\"recoverable_errors\":{}}}}\n-- /var/lib/cloud/data/instance-id mtime=2025-12-31T00:00:00Z --\ni-a\n", map[string]string{
			"off": "null", "finished": "true", "datasource": `"DataSourceAliYun"`, "failed": "0", "errors": "[]", "broken_links": "[]", "user_data_ignored": "false", "instance_age": `"24h0m0s"`,
		}},
		{"a script failed", installed + enabled + "-- /run/cloud-init/result.json --\n" + `{"v1": {"datasource": "DataSourceNoCloud [seed=/x][dsmode=net]", "errors": ["('scripts_user', RuntimeError('Runparts: 1 failures'))"]}}` + "\n", map[string]string{
			"datasource": `"DataSourceNoCloud"`, "failed": "1", "errors": `["('scripts_user', RuntimeError('Runparts: 1 failures'))"]`, "user_data_ignored": "null", "instance_age": "null",
		}},
		{"user data of no kind, in an old log", installed + enabled + good + "-- /var/log/cloud-init.log --\nCloud-init v. 20.1 running 'init-local' at x\n" + unknown, map[string]string{"user_data_ignored": "true"}},
		{"that was mended before this boot", installed + enabled + good + "-- /var/log/cloud-init.log --\n" + unknown + "Cloud-init v. 20.1 running 'init-local' at x\n", map[string]string{"user_data_ignored": "false"}},
		{"user data of no kind, in the status", installed + enabled + good + "-- /run/cloud-init/status.json --\n{\"v1\":{\"init\":{\"recoverable_errors\":{\"WARNING\":[\"" + "Unhandled non-multipart (text/x-not-multipart) userdata: 'x'" + "\"]}}}}\n", map[string]string{"user_data_ignored": "true"}},
		{"switched off by its file", installed + enabled + "-- /etc/cloud/cloud-init.disabled --\n", map[string]string{"off": `"/etc/cloud/cloud-init.disabled"`, "finished": "false", "datasource": "null"}},
		{"the command line wins", installed + enabled + "-- /etc/cloud/cloud-init.disabled --\n-- /proc/cmdline --\nro cloud-init=enabled\n", map[string]string{"off": "null"}},
		{"by the command line", installed + enabled + "-- /proc/cmdline --\nro cloud-init=disabled\n", map[string]string{"off": `"cloud-init=disabled on the kernel's command line"`}},
		{"masked", installed + enabled + "-- /etc/systemd/system/cloud-init-local.service -> /dev/null --\n", map[string]string{"off": `"cloud-init-local.service is masked"`}},
		{"not enabled", installed, map[string]string{"off": `"its units are not enabled"`}},
		{"a link to firmware that is not there", installed + enabled + "-- /etc/cloud/cloud.cfg.d/aliyun_cloud.cfg -> /sys/firmware/gone --\n-- /etc/cloud/cloud.cfg.d/05_logging.cfg --\n", map[string]string{"broken_links": `["/etc/cloud/cloud.cfg.d/aliyun_cloud.cfg"]`}},
		{"cut short", installed + enabled + "-- /run/cloud-init/result.json --\n{\"v1\": {\"data\n", map[string]string{"(reason)": "/run/cloud-init/result.json"}},
		{"not here", "-- /etc/x --\n", map[string]string{"(reason)": "not installed"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, CloudInit, observe(t, CloudInit, c.capture), c.want) })
	}
}
