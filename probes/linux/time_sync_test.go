package linux

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestTimeSync(t *testing.T) {
	const synced = "-- clock --\n{\"synchronised\":true,\"max_error\":22000000}\n"
	const lost = "-- clock --\n{\"synchronised\":false,\"max_error\":16000000000}\n"
	const chrony = "-- /usr/sbin/chronyd 0755 --\n-- /run/chrony/chronyd.pid --\n312\n-- /proc/312/comm --\nchronyd\n"
	const sources = "-- $ chronyc -n -c sources --\n^,*,100.100.61.88,2,10,377,512,-0.000012,0.000034,0.012\n^,?,203.107.6.88,0,6,0,4294967295,0.0,0.0,0.0\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "chronyd follows a source",
			capture: synced + chrony + sources + "-- $ chronyc -n -c tracking --\n64643D58,100.100.61.88,3,1795243000.123,-0.000123456,-0.000012,0.00004,-12.3,0.001,0.02,0.0008,0.0003,1034.5,Normal\n" +
				"-- /sys/devices/system/clocksource/clocksource0/current_clocksource --\nkvm-clock\n" +
				"-- /sys/devices/system/clocksource/clocksource0/available_clocksource --\nkvm-clock tsc acpi_pm \n-- /etc/adjtime --\n0.0 0 0.0\n0\nUTC\n",
			want: map[string]string{
				"synchronised": "true", "max_error": `"22ms"`, "daemons[chronyd].running": "true", "running": "1", "sources": "2", "sources_reachable": "1", "stratum": "3",
				"offset": `"123.456µs"`, "clocksource": `"kvm-clock"`, "clocksources": `["kvm-clock","tsc","acpi_pm"]`, "rtc_local": "false",
			},
		},
		{"ntpd-rs runs, openntpd does not", synced + "-- /usr/bin/ntp-daemon 0755 --\n-- /run/ntpd-rs/ --\n-- /usr/sbin/ntpctl 0755 --\n", map[string]string{
			"daemons[ntpd-rs].running": "true", "daemons[openntpd].running": "false", "running": "1", "zone": "null", "zones_apart": "null",
		}},
		{"two time zones", synced + "-- /etc/localtime -> ../usr/share/zoneinfo/Asia/Shanghai --\n-- /etc/timezone --\nEtc/UTC\n" + fixedZone(t, "Asia/Shanghai", "CST", 8*3600) + fixedZone(t, "Etc/UTC", "UTC", 0), map[string]string{
			"zone": `"Asia/Shanghai"`, "zone_named": `"Etc/UTC"`, "zones_apart": `"8h0m0s"`,
		}},
		{"two names of one zone", synced + "-- /etc/localtime -> /usr/share/zoneinfo/PRC --\n-- /etc/timezone --\nAsia/Shanghai\n" + fixedZone(t, "Asia/Shanghai", "CST", 8*3600) + fixedZone(t, "PRC", "CST", 8*3600), map[string]string{"zones_apart": `"0s"`}},
		{"a zone that is not there", synced + "-- /etc/localtime -> /usr/share/zoneinfo/PRC --\n-- /etc/timezone --\nMars/Phobos\n" + fixedZone(t, "PRC", "CST", 8*3600), map[string]string{"zone_named": `"Mars/Phobos"`, "zones_apart": "null"}},
		{"a zone's file cut short", synced + "-- /etc/localtime [quoted] --\n\"TZif2\"\n-- /etc/timezone --\nPRC\n" + fixedZone(t, "PRC", "CST", 8*3600), map[string]string{"zones_apart": "null"}},
		{
			name:    "chronyd knows better than the kernel of a container",
			capture: synced + chrony + "-- $ chronyc -n -c sources --\n-- $ chronyc -n -c tracking --\n00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n",
			want:    map[string]string{"synchronised": "false", "kernel_synchronised": "true", "stratum": "0", "sources": "0"},
		},
		{
			name: "chronyd does not answer", capture: synced + chrony + "-- $ chronyc -n -c tracking [exit 1] --\n506 Cannot talk to daemon\n",
			want: map[string]string{"synchronised": `{"unreadable":"chronyc tracking: 506 Cannot talk to daemon"}`, "daemons[chronyd].running": "true"},
		},
		{
			name: "chronyd was killed and its pid given to another", capture: lost + "-- /usr/sbin/chronyd 0755 --\n-- /run/chrony/chronyd.pid --\n312\n-- /proc/312/comm --\nbash\n",
			want: map[string]string{"synchronised": "false", "daemons[chronyd].running": "false", "running": "0", "sources": "null"},
		},
		{
			name: "timesyncd, and local time in the hardware clock", capture: synced + "-- /usr/lib/systemd/systemd-timesyncd 0755 --\n-- /run/systemd/timesync/synchronized --\n-- /etc/adjtime --\n0.0 0 0.0\n0\nLOCAL\n",
			want: map[string]string{"synchronised": "true", "daemons[systemd-timesyncd].running": "true", "rtc_local": "true"},
		},
		{name: "nothing installed", capture: lost, want: map[string]string{"synchronised": "false", "daemons": "[]", "running": "0", "clocksource": `""`, "rtc_local": "null"}},
		{name: "an answer cut short", capture: synced + chrony + sources + "-- $ chronyc -n -c tracking --\n64643D58,100.1\n", want: map[string]string{"synchronised": `{"unreadable":"chronyc -c tracking: not one line of 14 fields"}`}},
		{name: "the clock does not tell", want: map[string]string{"(reason)": "asking for the clock's state"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, TimeSync, observe(t, TimeSync, c.capture), c.want) })
	}
}

// fixedZone is the file of a zone without summer time: tzfile(5), version 1.
func fixedZone(t *testing.T, name, abbreviation string, offset int32) string {
	t.Helper()
	b := []byte("TZif" + strings.Repeat("\x00", 16))
	for _, count := range []uint32{0, 0, 0, 0, 1, uint32(len(abbreviation) + 1)} { // isutc, isstd, leap, transitions, types, characters
		b = binary.BigEndian.AppendUint32(b, count)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(offset))
	b = append(b, 0, 0)
	b = append(b, abbreviation+"\x00"...)
	return "-- /usr/share/zoneinfo/" + name + " [quoted] --\n" + quote(string(b))
}
