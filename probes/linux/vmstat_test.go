package linux

import "testing"

func TestVMStat(t *testing.T) {
	const new1 = "pswpin 10\npswpout 20\nallocstall_dma 0\nallocstall_normal 5\nallocstall_movable 7\npgmajfault 100\npgscan_direct 40\n" +
		"pgscan_direct_throttle 99\npgsteal_direct 30\npgscan_kswapd 1\nworkingset_refault_file 3\noom_kill 2\n"
	const new2 = "pswpin 110\npswpout 20\nallocstall_dma 0\nallocstall_normal 6\nallocstall_movable 9\npgmajfault 150\npgscan_direct 60\n" +
		"pgscan_direct_throttle 99\npgsteal_direct 35\npgscan_kswapd 1\nworkingset_refault_file 4\noom_kill 3\n"
	const old1 = "pswpin 1\npswpout 1\npgmajfault 1\nallocstall 1\npgscan_direct_dma 5\npgscan_direct_normal 5\npgsteal_direct_normal 1\npgscan_kswapd_normal 0\n"
	const old2 = "pswpin 0\npswpout 2\npgmajfault 1\nallocstall 4\npgscan_direct_dma 6\npgscan_direct_normal 7\npgsteal_direct_normal 2\npgscan_kswapd_normal 0\n"
	for _, c := range []struct {
		name, before, after string
		want                map[string]string
	}{
		{"stalls by zone", new1, new2, map[string]string{
			"oom_kills": "3", "swap_in_per_s": "100", "swap_out_per_s": "0", "alloc_stalls_per_s": "3", "major_faults_per_s": "50",
			"direct_scanned_per_s": "20", "direct_reclaimed_per_s": "5", "file_refaults_per_s": "1", "compact_stalls_per_s": "null",
		}},
		{"Linux 3.10: scans by zone, no oom_kill; a counter that was reset has no rate", old1, old2, map[string]string{
			"oom_kills": "null", "alloc_stalls_per_s": "3", "direct_scanned_per_s": "3", "file_refaults_per_s": "null", "swap_in_per_s": "null",
		}},
		{"too little", "pswpin 1\n", "pswpin 1\n", map[string]string{"(reason)": "no pgmajfault"}},
		{"not a count", "pgmajfault -3\n", "pgmajfault -3\n", map[string]string{"(reason)": "line 1: pgmajfault"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			capture := "-- /proc/vmstat --\n" + c.before + "-- /proc/vmstat @1s --\n" + c.after
			wantFacts(t, VMStat, observe(t, VMStat, capture), c.want)
		})
	}
}
