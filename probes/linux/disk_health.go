package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// DiskHealth reads what block devices say of themselves beside their numbers.
var DiskHealth = probes.Define(probes.Probe[host.Host]{
	Name: "disk_health",
	Doc: `Arrays, failed disks, and names that two of them share

Reads /proc/mdstat, the state of SCSI and NVMe disks under /sys/block, and what udev noted of file systems and
partitions under /run/udev/data. Costs 0.1 ms a device. Labels and UUIDs are compared where the system can confuse them: members of arrays,
LVM and multipath, btrfs over several disks, device-mapper and loop devices, which repeat another's by their nature, are left out. Without udev (containers) nothing is
known of them. What the disk's own electronics say (SMART) is not asked.`,
	Every: time.Minute,
}, diskHealth)

type diskHealthFacts struct {
	Arrays     []arrayFacts              `fact:"arrays" doc:"Software RAID arrays; none without /proc/mdstat"`
	Failed     []failedDisk              `fact:"failed" doc:"Disks that the kernel does not use any more: their state is neither running nor live"`
	Duplicates probes.Cut[duplicateName] `fact:"duplicates" doc:"Labels and UUIDs that more than one device bears"`
}

type arrayFacts struct {
	Name       string              `fact:"name,key" doc:"Kernel's name: md0"`
	Level      string              `fact:"level" doc:"raid1, raid5, …; empty for an array that is not started"`
	Active     bool                `fact:"active" doc:"It is started"`
	Disks      int                 `fact:"disks" unit:"count" doc:"Members that it should have"`
	Working    int                 `fact:"working" unit:"count" doc:"Members that work"`
	Failed     int                 `fact:"failed" unit:"count" doc:"Members marked as faulty (F)"`
	Recovering bool                `fact:"recovering" doc:"A recovery, resync or reshape is under way or waits"`
	Progress   probes.Opt[float64] `fact:"progress_pct" unit:"%" doc:"How far it is; absent if none runs"`
}

type failedDisk struct {
	Name  string `fact:"name,key" doc:"Kernel's name: sda, nvme1n1"`
	State string `fact:"state" doc:"offline, transport-offline, blocked, dead, …; /sys/block/*/device/state"`
}

type duplicateName struct {
	ID      string   `fact:"id,key" doc:"Kind and name as fstab writes them: LABEL=data, UUID=…, PARTUUID=…"`
	Kind    string   `fact:"kind" doc:"LABEL, UUID or PARTUUID"`
	Devices []string `fact:"devices" doc:"Devices that bear it"`
	Used    bool     `fact:"used" doc:"/etc/fstab or the kernel's command line names a device by it"`
}

func diskHealth(ctx context.Context, h host.Host) (diskHealthFacts, error) {
	var f diskHealthFacts
	entries, err := h.ReadDir("/sys/block")
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("there is no disk")
	}
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return f, ctx.Err()
		}
		f.state(h, e.Name)
	}
	text, err := readText(h, "/proc/mdstat")
	if err == nil {
		f.Arrays, err = parseMdstat(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f.Duplicates, err = duplicateNames(h)
	if err != nil {
		f.Duplicates.Why = err.Error()
	}
	return f, nil
}

func (f *diskHealthFacts) state(h host.Files, name string) {
	// An NVMe disk's namespace leads to its controller, which has the state; connecting and resetting pass.
	state, err := readLine(h, "/sys/block/"+name+"/device/state")
	if err == nil && !slices.Contains([]string{"running", "live", "quiesce", "created", "created-blocked", "connecting", "resetting", "new"}, state) {
		f.Failed = append(f.Failed, failedDisk{name, state})
	}
}

// parseMdstat parses /proc/mdstat (md_seq_show in drivers/md/md.c):
//
//	md0 : active raid1 vdc[1](F) vdb[0]
//	      1046528 blocks super 1.2 [2/1] [U_]
//	      [=>...]  recovery =  5.0% (…) finish=…
func parseMdstat(text string) ([]arrayFacts, error) {
	var list []arrayFacts
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 2 && strings.HasPrefix(fields[0], "md") && fields[1] == ":" {
			a := arrayFacts{Name: fields[0], Active: fields[2] == "active", Failed: strings.Count(line, "(F)")}
			for _, word := range fields[3:] {
				if strings.HasPrefix(word, "raid") || word == "linear" || word == "multipath" {
					a.Level = word
				}
			}
			list = append(list, a)
			continue
		}
		if len(list) == 0 {
			continue
		}
		if slices.Contains(fields, "external:imsm") || slices.Contains(fields, "external:ddf") {
			list = list[:len(list)-1] // it only holds the members of firmware's arrays, which say external:/md127/0, and is never started
			continue
		}
		a := &list[len(list)-1]
		for i, word := range fields {
			if _, err := fmt.Sscanf(word, "[%d/%d]", &a.Disks, &a.Working); err == nil && strings.HasSuffix(word, "]") {
				continue
			}
			if slices.Contains([]string{"recovery", "resync", "reshape"}, strings.SplitN(word, "=", 2)[0]) { // check only reads
				a.Recovering = true
				for _, next := range fields[i:] {
					if pct, ok := strings.CutSuffix(strings.TrimPrefix(next, "="), "%"); ok {
						if x, err := strconv.ParseFloat(pct, 64); err == nil {
							a.Progress = probes.Some(x)
						}
					}
				}
			}
		}
	}
	return list, nil
}

// sharedTypes are contents whose UUID or label several devices bear rightly.
var sharedTypes = []string{"linux_raid_member", "LVM2_member", "mpath_member", "btrfs", "zfs_member", "bcache", "drbd", "isw_raid_member", "ddf_raid_member", "VMFS_volume_member", "iso9660", "udf"}

// duplicateNames reads udev's database of block devices: files b254:17 with lines like "E:ID_FS_UUID=…". What a device is called
// itself is told by a link under /dev/disk/by-…, which only one of two can have.
func duplicateNames(h host.Files) (probes.Cut[duplicateName], error) {
	var cut probes.Cut[duplicateName]
	entries, err := h.ReadDir("/run/udev/data")
	if errors.Is(err, fs.ErrNotExist) {
		return cut, nil
	}
	if err != nil {
		return cut, err
	}
	fstab, _ := h.ReadFile("/etc/fstab")
	cmdline, _ := h.ReadFile("/proc/cmdline")
	bearers := map[[2]string][]string{}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name, "b")
		if !ok {
			continue
		}
		target, err := h.Readlink("/sys/dev/block/" + number)
		if err != nil {
			continue // the device is gone
		}
		name := target[strings.LastIndexByte(target, '/')+1:]
		if strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "sr") || strings.HasPrefix(name, "md") || strings.HasPrefix(name, "drbd") {
			continue
		}
		text, err := readText(h, "/run/udev/data/"+e.Name)
		if err != nil {
			cut.More++
			continue
		}
		properties := udevProperties(text)
		if properties["DM_MULTIPATH_DEVICE_PATH"] == "1" {
			continue
		}
		if id := properties["ID_PART_ENTRY_UUID"]; id != "" {
			bearers[[2]string{"PARTUUID", id}] = append(bearers[[2]string{"PARTUUID", id}], name)
		}
		if slices.Contains(sharedTypes, properties["ID_FS_TYPE"]) {
			continue
		}
		for kind, key := range map[string]string{"LABEL": "ID_FS_LABEL", "UUID": "ID_FS_UUID"} {
			if id := properties[key]; id != "" {
				bearers[[2]string{kind, id}] = append(bearers[[2]string{kind, id}], name)
			}
		}
	}
	for id, devices := range bearers {
		if len(devices) < 2 {
			continue
		}
		slices.Sort(devices)
		d := duplicateName{ID: id[0] + "=" + id[1], Kind: id[0], Devices: devices}
		d.Used = strings.Contains(string(fstab), d.ID) || strings.Contains(string(fstab), id[0]+"=\""+id[1]) || strings.Contains(string(cmdline), d.ID)
		cut.All = append(cut.All, d)
	}
	slices.SortFunc(cut.All, func(a, b duplicateName) int { return cmp.Compare(a.ID, b.ID) })
	return cut, nil
}

func udevProperties(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if property, ok := strings.CutPrefix(strings.TrimSpace(line), "E:"); ok {
			key, value, _ := strings.Cut(property, "=")
			m[key] = value
		}
	}
	return m
}
