package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Modules looks for kernel modules that this host asks for and may not load.
var Modules = probes.Define(probes.Probe[host.Host]{
	Name: "modules",
	Doc: `Kernel modules that are needed and forbidden

Gathers the modules that this host asks for: the types of file systems in /etc/fstab and in mount units under /etc/systemd/system, and the names in /etc/modules and
modules-load.d. Of those that the kernel has not loaded it looks for lines of modprobe.d that forbid them ("install NAME /bin/false", "blacklist NAME"), and whether loading is
switched off altogether (kernel.modules_disabled). Costs 0.2 ms. A line that forbids what nobody asks for is hardening, and not listed.`,
	Every: 5 * time.Minute,
}, modules)

type modulesFacts struct {
	Disabled  bool              `fact:"disabled" doc:"No module may be loaded until the next boot: kernel.modules_disabled is 1"`
	Forbidden []forbiddenModule `fact:"forbidden" doc:"Modules that are asked for, are not loaded, and may not be"`
}

type forbiddenModule struct {
	Module string `fact:"module,key" doc:"Its name"`
	Where  string `fact:"where" doc:"File and line that forbid it, or kernel.modules_disabled"`
	Line   string `fact:"line" doc:"That line"`
	Needed string `fact:"needed_by" doc:"Who asks for it: /srv/archive in /etc/fstab, srv-archive.mount, /etc/modules"`
}

func modules(_ context.Context, h host.Host) (modulesFacts, error) {
	f := modulesFacts{Forbidden: []forbiddenModule{}}
	text, err := readText(h, "/proc/filesystems")
	if err != nil {
		return f, err
	}
	known := strings.Fields(text)
	if n, err := readInt(h, "/proc/sys/kernel/modules_disabled"); err == nil {
		f.Disabled = n == 1
	}
	rules := modprobeRules(h)
	for _, n := range neededModules(h) {
		if slices.Contains(known, n.Module) || isThere(h, "/sys/module/"+strings.ReplaceAll(n.Module, "-", "_")) {
			continue
		}
		rule, ok := rules[strings.ReplaceAll(n.Module, "-", "_")]
		switch {
		case ok:
			n.Where, n.Line = rule.Where, rule.Line
		case f.Disabled:
			n.Where, n.Line = "kernel.modules_disabled", "kernel.modules_disabled = 1"
		default:
			continue
		}
		f.Forbidden = append(f.Forbidden, n)
	}
	return f, nil
}

// notModules are types in fstab and mount units for which the kernel loads nothing.
var notModules = []string{"", "auto", "none", "swap", "bind", "tmpfs", "proc", "sysfs", "devpts", "ignore"}

// neededModules lists each module once, with whom it is for.
func neededModules(h host.Host) []forbiddenModule {
	var list []forbiddenModule
	add := func(module, by string) {
		if !slices.Contains(notModules, module) && !strings.HasPrefix(module, "fuse") && !slices.ContainsFunc(list, func(m forbiddenModule) bool { return m.Module == module }) {
			list = append(list, forbiddenModule{Module: module, Needed: by})
		}
	}
	if text, err := h.ReadFile(fstabFile); err == nil {
		for _, e := range parseFstab(string(text)).Entries {
			for kind := range strings.SplitSeq(e.FSType, ",") {
				add(kind, e.Mount+" in "+fstabFile)
			}
		}
	}
	units, _ := h.ReadDir("/etc/systemd/system")
	for _, e := range units {
		if !strings.HasSuffix(e.Name, ".mount") || !e.Type.IsRegular() {
			continue
		}
		text, _ := h.ReadFile("/etc/systemd/system/" + e.Name)
		for line := range strings.Lines(string(text)) {
			if kind, ok := strings.CutPrefix(strings.TrimSpace(line), "Type="); ok {
				add(strings.TrimSpace(kind), e.Name)
			}
		}
	}
	for _, file := range append([]string{"/etc/modules"}, filesIn(h, "/etc/modules-load.d", ".conf")...) {
		text, _ := h.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") && !strings.HasPrefix(words[0], ";") {
				add(words[0], file)
			}
		}
	}
	return list
}

func filesIn(h host.Files, dir, suffix string) []string {
	entries, err := h.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name, suffix) {
			names = append(names, path.Join(dir, e.Name))
		}
	}
	return names
}

// modprobeRules are the lines that forbid a module: modprobe.d(5). A file in /etc hides one of the same name elsewhere.
func modprobeRules(h host.Files) map[string]forbiddenModule {
	rules, seen := map[string]forbiddenModule{}, map[string]bool{}
	for _, dir := range []string{"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"} {
		for _, file := range filesIn(h, dir, ".conf") {
			if seen[path.Base(file)] {
				continue
			}
			seen[path.Base(file)] = true
			text, _ := h.ReadFile(file)
			n := 0
			for line := range strings.Lines(string(text)) {
				n++
				words := strings.Fields(line)
				switch {
				case len(words) >= 2 && words[0] == "blacklist":
				case len(words) >= 3 && words[0] == "install" && slices.Contains([]string{"false", "true", ":"}, path.Base(words[2])):
				default:
					continue
				}
				name := strings.ReplaceAll(words[1], "-", "_")
				if _, ok := rules[name]; !ok {
					rules[name] = forbiddenModule{Where: fmt.Sprintf("%s:%d", file, n), Line: strings.TrimSpace(line)}
				}
			}
		}
	}
	return rules
}
