package linux

import "testing"

func TestMappings(t *testing.T) {
	const few = "-- /sys/kernel/slab/vm_area_struct/total_objects --\n90 N0=90\n"
	const full = "-- /sys/kernel/slab/vm_area_struct/total_objects --\n110 N0=110\n-- /proc/sys/vm/max_map_count --\n4\n"
	const line = "7f0000000000-7f0000001000 r--p 00000000 00:00 0\n"
	for _, c := range []struct {
		name, capture string
		want          map[string]string
	}{
		{"enough", few + "-- /proc/sys/vm/max_map_count --\n65530\n", map[string]string{"total": "90", "max": "65530", "full": "[]"}},
		{"one has all", full + "-- /proc/7/statm --\n900 1 1 1 0 1 0\n-- /proc/7/comm --\nindex\n-- /proc/7/cgroup --\n0::/system.slice/index.service\n-- /proc/7/maps --\n" + line + line + line + line +
			"-- /proc/8/statm --\n90 1 1 1 0 1 0\n-- /proc/8/maps --\n" + line + "-- /proc/9/statm --\n2 1 1 1 0 1 0\n", map[string]string{
			"full[index.service].count": "4", "full[index.service].command": `"index"`, "full[index.service].unit": `"index.service"`, "full[8].count": "none",
		}},
		{"the kernel does not tell", "-- /proc/sys/vm/max_map_count --\n65530\n", map[string]string{"(reason)": "does not tell"}},
		{"cut short", few, map[string]string{"(reason)": "max_map_count"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantFacts(t, Mappings, observe(t, Mappings, c.capture), c.want) })
	}
}
