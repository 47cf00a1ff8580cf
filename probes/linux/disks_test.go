package linux

import "testing"

const sysVda = `-- /sys/block/vda/size --
83886080
-- /sys/block/vda/removable --
0
-- /sys/block/vda/ro --
0
-- /sys/block/vda/queue/rotational --
1
-- /sys/block/vda/queue/scheduler --
mq-deadline kyber [none]
-- /sys/block/loop0/size --
0
`

const sysVda1 = `-- /sys/block/vda/vda1/start --
2048
-- /sys/block/vda/vda1/size --
41940992
`

func TestDisks(t *testing.T) {
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{
			name: "a volume that was suspended",
			capture: "-- /sys/block/dm-0/size --\n83886080\n-- /sys/block/dm-0/removable --\n0\n-- /sys/block/dm-0/ro --\n0\n" +
				"-- /sys/block/dm-0/queue/rotational --\n0\n-- /sys/block/dm-0/slaves/vda/ --\n-- /sys/block/dm-0/dm/suspended --\n1\n" +
				sysVda + "-- /proc/diskstats --\n 253       0 dm-0 0 0 0 0 0 0 0 0 0 0 0\n 254       0 vda 0 0 0 0 0 0 0 0 0 0 0\n" +
				"-- /proc/diskstats @1s --\n 253       0 dm-0 0 0 0 0 0 0 0 0 0 0 0\n 254       0 vda 0 0 0 0 0 0 0 0 0 0 0\n",
			want: map[string]string{"devices[dm-0].suspended": "true", "devices[dm-0].stacked": "true", "devices[vda].suspended": "null"},
		},
		{
			name: "rates of a second",
			capture: sysVda + sysVda1 + `-- /proc/diskstats --
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 100 0 8000 1000 50 0 1600 500 0 400 1500 0 0 0 0 0 0
 254       1 vda1 90 0 8000 1000 50 0 1600 500 0 400 1500 0 0 0 0 0 0
-- /proc/diskstats @1s --
 254       0 vda 160 0 12096 1300 90 0 2624 1000 3 1400 4000 0 0 0 0 0 0
`,
			want: map[string]string{
				"devices[vda].reads_per_s": "60", "devices[vda].writes_per_s": "40", "devices[vda].bytes_read_per_s": "2.097152e+06",
				"devices[vda].bytes_written_per_s": "524288", "devices[vda].await": `"8ms"`, "devices[vda].queue": "2.5", "devices[vda].util_pct": "100",
				"devices[vda].in_flight": "3", "devices[vda].stalled": "false", "devices[vda].scheduler": `"none"`, "devices[vda].size": "42949672960",
				"devices[vda].partitions": "1", "devices[vda].last_partition": `"vda1"`, "devices[vda].bytes_unused": "21474836480",
				"devices[vda].stacked": "false", "devices[vda].rotational": "true", "devices[loop0]": "none",
			},
		},
		{
			name: "requests under way and none completed",
			capture: sysVda + `-- /proc/diskstats --
 254 0 vda 100 0 8000 1000 50 0 1600 500 2 400 1500
-- /proc/diskstats @1s --
 254 0 vda 100 0 8000 1000 50 0 1600 500 2 1400 3500
`,
			want: map[string]string{
				"devices[vda].stalled": "true", "devices[vda].await": "null", "devices[vda].util_pct": "100", "devices[vda].queue": "2",
				"devices[vda].bytes_unused": "null", "devices[vda].partitions": "0",
			},
		},
		{
			name: "a long flush that ends is not a stall",
			capture: sysVda + `-- /proc/diskstats --
 254 0 vda 1 0 0 0 1 0 0 0 1 0 0 0 0 0 0 5 0
-- /proc/diskstats @1s --
 254 0 vda 1 0 0 0 1 0 0 0 1 0 0 0 0 0 0 6 0
`,
			want: map[string]string{"devices[vda].stalled": "false"},
		},
		{
			name: "another disk under the same name has no rates yet",
			capture: sysVda + `-- /proc/diskstats --
 254 0 vda 100 0 0 0 50 0 0 0 0 0 0
-- /proc/diskstats @1s --
 254 0 vda 3 0 0 0 1 0 0 0 1 0 0
`,
			want: map[string]string{"devices[vda].reads_per_s": "null", "devices[vda].stalled": "null", "devices[vda].in_flight": "1"},
		},
		{
			name: "Linux 2.6.18: partitions have 4 counters",
			capture: sysVda + `-- /proc/diskstats --
 254 0 vda 100 0 0 0 50 0 0 0 0 0 0
 254 1 vda1 90 800 50 160
`,
			want: map[string]string{"devices[vda].reads_per_s": "0"},
		},
		{
			name:    "device-mapper is made of other disks and has no scheduler",
			capture: sysVda + "-- /sys/block/vda/slaves/vdb/ --\n-- /proc/diskstats --\n 254 0 vda 1 0 0 0 1 0 0 0 0 0 0\n",
			want:    map[string]string{"devices[vda].stacked": "true"},
		},
		{name: "no disk", capture: "-- /sys/block/loop0/size --\n0\n", want: map[string]string{"(reason)": "there is no disk"}},
		{name: "no sysfs", want: map[string]string{"(reason)": "listing disks"}},
		{name: "cut short", capture: sysVda + "-- /proc/diskstats --\n 254 0 vda 1 0 0\n", want: map[string]string{"(reason)": "line 1: 6 columns"}},
		{name: "no number", capture: sysVda + "-- /proc/diskstats --\n 254 0 vda -1 0 0 0 1 0 0 0 0 0 0\n", want: map[string]string{"(reason)": `"-1" is not a count`}},
		{name: "empty", capture: sysVda + "-- /proc/diskstats --\n", want: map[string]string{"(reason)": "empty"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Disks, observe(t, Disks, c.capture), c.want) })
	}
}
