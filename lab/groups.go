package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// hostPrefix begins the name of a host's directory and of its control group.
const hostPrefix = "lab-host-"

// makeGroups gives the host a control group in every hierarchy: two containers in one would share systemd's.
// Its weight is so many times the usual.
func makeGroups(name string, memory, weight int) ([]string, error) {
	var groups []string
	for _, root := range hierarchies() {
		group := filepath.Join(root, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			return nil, fmt.Errorf("making a control group: %w", err)
		}
		// cpuset begins empty in the first version, and then takes no process.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(root, file)); err == nil {
				if err := os.WriteFile(filepath.Join(group, file), all, 0); err != nil {
					return nil, fmt.Errorf("setting up a control group: %w", err)
				}
			}
		}
		for file, value := range map[string]int{
			"memory.limit_in_bytes": memory, "memory.max": memory, "cpu.shares": weight * 1024, "cpu.weight": weight * 100,
		} {
			if _, err := os.Stat(filepath.Join(group, file)); err == nil {
				if err := os.WriteFile(filepath.Join(group, file), []byte(strconv.Itoa(value)), 0); err != nil {
					return nil, fmt.Errorf("setting up a control group: %w", err)
				}
			}
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// hierarchies are the mounts of control groups: one in the second version, one a controller in the first.
func hierarchies() []string {
	const base = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(base, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{base}
	}
	var roots []string
	all, _ := filepath.Glob(base + "/*")
	for _, root := range all {
		if info, err := os.Lstat(root); err != nil || !info.IsDir() { // cpu → cpu,cpuacct on some systems
			continue
		}
		if err := unix.Statfs(root, &st); err == nil && (st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC) {
			roots = append(roots, root)
		}
	}
	return roots
}

// removeGroups removes a host's control groups and those that its systemd made in them. No process is in them any more.
func removeGroups(name string) error {
	var errs []error
	for _, root := range hierarchies() {
		errs = append(errs, removeGroup(filepath.Join(root, name)))
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	children, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, c := range children {
		if c.IsDir() {
			if err := removeGroup(filepath.Join(dir, c.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing a control group: %w", err)
	}
	return nil
}
