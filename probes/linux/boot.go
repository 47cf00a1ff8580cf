package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Boot looks for the files that the boot loader will ask for.
var Boot = probes.Define(probes.Probe[host.Host]{
	Name: "boot",
	Doc: `What the next boot will load

Reads GRUB's configuration (/boot/grub/grub.cfg or /boot/grub2/grub.cfg) and the entries under /boot/loader/entries that newer
Red Hat systems keep beside it, and looks for each entry's kernel and initial RAM disks. Costs 0.2 ms. GRUB's paths begin at the file system that
holds /boot, so a file counts as there if it is at the path itself or under /boot. Entries of other systems on other disks (os-prober's) and names made of
variables are left out.
https://www.gnu.org/software/grub/manual/grub/grub.html https://uapi-group.org/specifications/specs/boot_loader_specification/`,
	Every: 10 * time.Minute,
}, boot)

type bootFacts struct {
	Config  string      `fact:"config" doc:"GRUB's configuration file"`
	Entries []bootEntry `fact:"entries" doc:"Entries that load a Linux kernel, in the files' order"`
	Modules []string    `fact:"modules_missing" doc:"GRUB's modules that read the configuration and are missing or empty, where the directory of its modules for BIOS is there; they are not looked for where the firmware is EFI"`
}

type bootEntry struct {
	Entry   string           `fact:"entry,key" doc:"The configuration file and the line of the entry's kernel: \"/boot/grub/grub.cfg:98\""`
	Kernel  string           `fact:"kernel" doc:"The kernel's file, as written"`
	Default probes.Opt[bool] `fact:"default" doc:"The next boot takes this entry, if nobody chooses another: by GRUB's next_entry or saved_entry, else the first, which is the newest of those under /boot/loader; absent of all where the choice is by the number of a later one, or names none"`
	Missing []string         `fact:"missing" doc:"Its kernel or initial RAM disks that do not exist"`
	Empty   []string         `fact:"empty" doc:"Those that are there with no content, as a full disk leaves them"`
}

func boot(_ context.Context, h host.Host) (bootFacts, error) {
	var f bootFacts
	var names [][]string
	var text []byte
	var err error
	for _, file := range []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"} {
		text, err = h.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return f, fmt.Errorf("reading %s: %w", file, err)
		}
		f.Config = file
		f.Entries, names = parseGrub(file, string(text))
		break
	}
	if f.Config == "" {
		return f, probes.NoData("there is no configuration of GRUB here")
	}
	if f.Modules, err = missingModules(h, path.Dir(f.Config)+"/i386-pc"); err != nil {
		return f, err
	}
	const loaderEntries = "/boot/loader/entries"
	dir, err := h.ReadDir(loaderEntries)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("listing %s: %w", loaderEntries, err)
	}
	// GRUB lists them by version, the newest first (blscfg.c of the Red Hat family): a rescue entry has version 0.
	slices.SortFunc(dir, func(a, b host.DirEntry) int { return compareVersions(b.Name, a.Name) })
	for _, e := range dir {
		if path.Ext(e.Name) != ".conf" {
			continue
		}
		file := path.Join(loaderEntries, e.Name)
		text, err := h.ReadFile(file)
		if err != nil {
			return f, fmt.Errorf("reading %s: %w", file, err)
		}
		entries, called := parseGrub(file, string(text))
		f.Entries, names = append(f.Entries, entries...), append(names, called...)
	}
	if err := markDefault(h, path.Dir(f.Config)+"/grubenv", string(text), f.Entries, names); err != nil {
		return f, err
	}
	for i := range f.Entries {
		if err := f.Entries[i].look(h); err != nil {
			return f, err
		}
	}
	return f, nil
}

// missingModules looks for the modules without which GRUB stops at its rescue prompt: normal.mod, which reads grub.cfg. An EFI loader as
// distributions sign it has them built in.
func missingModules(h host.Host, dir string) ([]string, error) {
	missing := []string{}
	if isThere(h, "/sys/firmware/efi") || !isThere(h, dir) {
		return missing, nil
	}
	name := dir + "/normal.mod"
	info, err := h.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.Size == 0:
		missing = append(missing, name)
	case err != nil:
		return nil, fmt.Errorf("looking for %s: %w", name, err)
	}
	return missing, nil
}

// parseGrub finds the commands that load kernels and initial RAM disks: in a grub.cfg, and in an entry of the boot loader
// specification, which has them as keys. Missing holds all files of an entry until look. called are the names by which the choice may mean
// each entry: title, id, or the file's name.
func parseGrub(file, text string) (entries []bootEntry, called [][]string) {
	names := []string{strings.TrimSuffix(path.Base(file), ".conf")}
	other := false // inside the section of other systems
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "### BEGIN ") && strings.Contains(line, "os-prober"):
			other = true
		case strings.HasPrefix(line, "### END "):
			other = false
		case other || len(words) < 2:
		case words[0] == "menuentry":
			names = menuNames(line)
		case words[0] == "title":
			names = append(names, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "title")))
		case strings.HasPrefix(words[0], "linux") && isBootFile(words[1]): // linux16 and linuxefi load the same kernels
			entries = append(entries, bootEntry{Entry: fmt.Sprintf("%s:%d", file, n), Kernel: words[1], Missing: []string{words[1]}})
			called = append(called, names)
		case strings.HasPrefix(words[0], "initrd") && len(entries) > 0:
			e := &entries[len(entries)-1]
			for _, name := range words[1:] {
				if isBootFile(name) {
					e.Missing = append(e.Missing, name)
				}
			}
		}
	}
	return entries, called
}

// quoted are the texts in quotes of "menuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple-1' {": its title and its id.
var quoted = regexp.MustCompile(`'([^']*)'|"([^"]*)"`)

func menuNames(line string) []string {
	var names []string
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		names = append(names, m[1]+m[2])
	}
	return names
}

// markDefault says of each entry whether it is GRUB's default: what grub-reboot chose for once, what `set default` says, or the first.
func markDefault(h host.Host, envFile, config string, entries []bootEntry, names [][]string) error {
	block, err := h.ReadFile(envFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", envFile, err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(block)) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
			env[key] = value
		}
	}
	choice := "${saved_entry}" // as blscfg does it, without a word in grub.cfg
	for _, m := range setDefault.FindAllStringSubmatch(config, -1) {
		if m[1] != "${next_entry}" {
			choice = m[1]
		}
	}
	if choice == "${saved_entry}" {
		choice = env["saved_entry"]
	}
	choice = cmp.Or(env["next_entry"], choice, "0")
	choice = choice[strings.LastIndex(choice, ">")+1:] // "Advanced options>Debian, with Linux 6.1"
	chosen := slices.IndexFunc(names, func(n []string) bool { return slices.Contains(n, choice) })
	if choice == "0" && len(entries) > 0 {
		chosen = 0
	}
	for i := range entries {
		if chosen >= 0 {
			entries[i].Default = probes.Some(i == chosen)
		}
	}
	return nil
}

var setDefault = regexp.MustCompile(`(?m)^\s*set default="([^"]*)"`)

// compareVersions compares names as people do: numbers within by their value, 5.9 before 5.10.
func compareVersions(a, b string) int {
	as, bs := parts.FindAllString(a, -1), parts.FindAllString(b, -1)
	return slices.CompareFunc(as, bs, func(a, b string) int {
		m, errA := strconv.Atoi(a)
		n, errB := strconv.Atoi(b)
		if errA != nil || errB != nil {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(m, n)
	})
}

var parts = regexp.MustCompile(`\d+|\D+`)

// isBootFile tells a plain path on the file system of /boot from one on another device, or with variables.
func isBootFile(name string) bool {
	return strings.HasPrefix(name, "/") && !strings.ContainsAny(name, "$\\\"'") && !strings.Contains(name, "memtest")
}

// look leaves in Missing what is missing.
func (e *bootEntry) look(h host.Host) error {
	files := e.Missing
	e.Missing, e.Empty = nil, nil
	for _, name := range files {
		info, err := statBootFile(h, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			e.Missing = append(e.Missing, name)
		case err != nil:
			return fmt.Errorf("looking for %s: %w", name, err)
		case info.Size == 0:
			e.Empty = append(e.Empty, name)
		}
	}
	return nil
}

// statBootFile asks for a file by GRUB's path: from this system's root, from /boot where that is a file system of its own, and by its
// last name, since a path may begin with a btrfs subvolume.
func statBootFile(h host.Host, name string) (info host.FileInfo, err error) {
	for _, file := range []string{name, path.Join("/boot", name), path.Join("/boot", path.Base(name))} {
		if info, err = h.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return info, err
		}
	}
	return info, err
}
