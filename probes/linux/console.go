package linux

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Console looks whether somebody would be asked for a name on the console.
var Console = probes.Define(probes.Probe[host.Host]{
	Name: "console",
	Doc: `Logging in at the console

Looks whether the login prompts of the first virtual terminal, which a cloud shows by VNC, and of the kernel's serial console are masked or not enabled:
links in /etc/systemd/system. That a prompt which is enabled also runs is for units to tell. A container has no console; a graphical login takes the
prompt's place, and is not looked at. Costs 0.1 ms. https://www.freedesktop.org/software/systemd/man/latest/systemd-getty-generator.html`,
	Every: 10 * time.Minute,
}, console)

type consoleFacts struct {
	Prompts []consolePrompt `fact:"prompts" doc:"The consoles that there are"`
}

type consolePrompt struct {
	Console string `fact:"console,key" doc:"tty1, ttyS0"`
	Unit    string `fact:"unit" doc:"The unit of its prompt"`
	Off     string `fact:"off" doc:"Why nobody is asked: what is masked, or that it is not enabled; empty if nothing is"`
}

func console(_ context.Context, h host.Host) (consoleFacts, error) {
	f := consoleFacts{}
	if _, err := h.Stat("/run/systemd/system"); errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("systemd is not the service manager")
	} else if err != nil {
		return f, err
	}
	if target, err := h.Readlink("/etc/systemd/system/default.target"); err == nil && strings.HasSuffix(target, "/graphical.target") {
		if isThere(h, "/etc/systemd/system/display-manager.service") {
			return f, probes.NoData("a graphical login takes the prompt's place")
		}
	}
	if isThere(h, "/dev/tty1") {
		f.Prompts = append(f.Prompts, consolePrompt{Console: "tty1", Unit: "getty@tty1.service"})
	}
	active, err := h.ReadFile("/sys/class/tty/console/active")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	for name := range strings.FieldsSeq(string(active)) {
		if strings.HasPrefix(name, "ttyS") && isThere(h, "/dev/"+name) {
			f.Prompts = append(f.Prompts, consolePrompt{Console: name, Unit: "serial-getty@" + name + ".service"})
		}
	}
	if len(f.Prompts) == 0 {
		return f, probes.NoData("there is no console here")
	}
	for i := range f.Prompts {
		f.Prompts[i].look(h)
	}
	return f, nil
}

// look follows what systemd does: getty@tty1 is enabled by a link, a serial console's by the generator unless it is masked.
func (p *consolePrompt) look(h host.Files) {
	template, _, _ := strings.Cut(p.Unit, "@")
	for _, unit := range []string{p.Unit, template + "@.service", "getty.target"} {
		for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/"} {
			if target, err := h.Readlink(dir + unit); err == nil && target == "/dev/null" {
				p.Off = unit + " is masked"
				return
			}
		}
	}
	if p.Console == "tty1" && !slices.ContainsFunc([]string{"/etc", "/run", "/usr/lib", "/lib"}, func(dir string) bool {
		_, err := h.Lstat(dir + "/systemd/system/getty.target.wants/" + p.Unit)
		return err == nil || !errors.Is(err, fs.ErrNotExist)
	}) {
		p.Off = p.Unit + " is not enabled"
	}
}
