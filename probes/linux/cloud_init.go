package linux

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// CloudInit reads whether what the cloud asks of a host at its start is done.
var CloudInit = probes.Define(probes.Probe[host.Host]{
	Name: "cloud_init",
	Doc: `cloud-init

Looks whether cloud-init is off, and by what; reads what it noted of this boot (result.json and status.json in /run/cloud-init), its configuration's
links and files, and, where status.json has no warnings yet (before 23.4), the last 256 KiB of its log for user data of which it does not know the kind. User data itself is
never read, for it may hold secrets. Nothing is run. Costs 0.2 ms, with the log 0.5 ms.
https://docs.cloud-init.io/en/latest/howto/disable_cloud_init.html`,
	Every: 5 * time.Minute,
}, cloudInit)

type cloudInitFacts struct {
	Off        probes.Opt[string]        `fact:"off" doc:"What keeps it from running: /etc/cloud/cloud-init.disabled, the kernel's command line, a masked unit, or units that are not enabled; absent if nothing does"`
	Finished   probes.Opt[bool]          `fact:"finished" doc:"It ran to its end since this boot; /run/cloud-init/result.json"`
	Datasource probes.Opt[string]        `fact:"datasource" doc:"Where it got this boot's data: DataSourceAliYun; DataSourceNone if it found nobody to ask. Absent until it has finished"`
	Errors     []string                  `fact:"errors" doc:"What failed in this boot, in its words; at most five"`
	Failed     int                       `fact:"failed" unit:"count" doc:"How much failed in this boot"`
	Links      []string                  `fact:"broken_links" doc:"Links in /etc/cloud and /etc/cloud/cloud.cfg.d that lead nowhere"`
	Ignored    probes.Opt[bool]          `fact:"user_data_ignored" doc:"The user data does not begin with a line that says what it is (#!, #cloud-config, …), and was not run; absent until it has finished"`
	Invalid    probes.Opt[string]        `fact:"user_data_invalid" doc:"Why the user data (or a file of /etc/cloud) could not be read as YAML, as cloud-init's log says it; empty if all could, absent until it has finished"`
	BadLine    probes.Opt[int]           `fact:"user_data_line" unit:"line" doc:"The line where that is, if it says"`
	BadFile    string                    `fact:"bad_file" doc:"A file of its configuration that changed within 30 days and is no YAML, as FILE: WHY; empty if there is none"`
	Elsewhere  string                    `fact:"datasource_list" doc:"On an instance of Alibaba Cloud: the datasource_list that counts, as FILE:LINE: TEXT, if AliYun is not in it; else empty"`
	Age        probes.Opt[time.Duration] `fact:"instance_age" doc:"Time since it first met this instance; absent if it never did"`
}

const cloudInitLogTail = 256 << 10

func cloudInit(_ context.Context, h host.Host) (cloudInitFacts, error) {
	f := cloudInitFacts{Errors: []string{}, Links: []string{}}
	installed := false
	for _, name := range []string{"/usr/bin/cloud-init", "/bin/cloud-init", "/usr/local/bin/cloud-init"} {
		there, known := exists(h, name).Get()
		if installed = there || !known; installed {
			break
		}
	}
	if !installed {
		return f, probes.NoData("cloud-init is not installed")
	}
	f.Off = cloudInitOff(h)
	for _, dir := range []string{"/etc/cloud", "/etc/cloud/cloud.cfg.d"} {
		if err := f.links(h, dir); err != nil {
			return f, err
		}
	}
	if _, off := f.Off.Get(); !off {
		f.configuration(h)
	}
	if fi, err := h.Stat("/var/lib/cloud/data/instance-id"); err == nil {
		f.Age = probes.Some(max(0, h.Now().Sub(fi.ModTime)))
	}
	return f, f.boot(h)
}

// cloudInitOff follows what its systemd generator does: the command line comes first, then the file. Without the generator its
// services are enabled or masked like others.
func cloudInitOff(h host.Files) probes.Opt[string] {
	cmdline, _ := h.ReadFile("/proc/cmdline")
	words := strings.Fields(string(cmdline))
	switch {
	case slices.Contains(words, "cloud-init=disabled"):
		return probes.Some("cloud-init=disabled on the kernel's command line")
	case !slices.Contains(words, "cloud-init=enabled") && isThere(h, "/etc/cloud/cloud-init.disabled"):
		return probes.Some("/etc/cloud/cloud-init.disabled")
	case !isThere(h, "/run/systemd/system"):
		return probes.None[string]()
	}
	for _, unit := range []string{"cloud-init.target", "cloud-init.service", "cloud-init-main.service", "cloud-init-local.service", "cloud-config.service", "cloud-final.service"} {
		if target, err := h.Readlink("/etc/systemd/system/" + unit); err == nil && target == "/dev/null" {
			return probes.Some(unit + " is masked")
		}
	}
	for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		for _, by := range []string{"cloud-init.target.wants", "multi-user.target.wants", "cloud-config.target.wants"} {
			entries, err := h.ReadDir(dir + by)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return probes.Unread[string](err.Error())
			}
			if slices.ContainsFunc(entries, func(e host.DirEntry) bool {
				return strings.HasPrefix(e.Name, "cloud-") && strings.HasSuffix(e.Name, ".service")
			}) {
				return probes.None[string]()
			}
		}
	}
	return probes.Some("its units are not enabled")
}

func (f *cloudInitFacts) links(h host.Files, dir string) error {
	entries, err := h.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if e.Type&fs.ModeSymlink == 0 {
			continue
		}
		if there, known := exists(h, path.Join(dir, e.Name)).Get(); known && !there {
			f.Links = append(f.Links, path.Join(dir, e.Name))
		}
	}
	return nil
}

// configIsNew is how young a file of the configuration must be to be read as YAML: that the older ones are well has been seen at a start.
const configIsNew = 30 * 24 * time.Hour

var datasourceList = regexp.MustCompile(`(?m)^datasource_list\s*:\s*\[([^\]\n]*)\]`)

// configuration looks at what the next start will read: cloud.cfg, then cloud.cfg.d in the order of its names, the last of which counts.
func (f *cloudInitFacts) configuration(h host.Host) {
	files := []string{"/etc/cloud/cloud.cfg"}
	if entries, err := h.ReadDir("/etc/cloud/cloud.cfg.d"); err == nil {
		for _, e := range entries {
			if strings.HasSuffix(e.Name, ".cfg") && len(files) < maxConfigFiles {
				files = append(files, "/etc/cloud/cloud.cfg.d/"+e.Name)
			}
		}
	}
	for _, file := range files {
		fi, err := h.Stat(file)
		if err != nil {
			continue
		}
		b, err := h.ReadFile(file)
		if err != nil {
			continue
		}
		if m := datasourceList.FindIndex(b); m != nil {
			line := string(b[m[0]:m[1]])
			f.Elsewhere = fmt.Sprintf("%s:%d: %.200s", file, bytes.Count(b[:m[0]], []byte("\n"))+1, line)
			if strings.Contains(strings.ToLower(line), "aliyun") {
				f.Elsewhere = ""
			}
		}
		if f.BadFile == "" && h.Now().Sub(fi.ModTime) < configIsNew && !bytes.HasPrefix(b, []byte("## template")) {
			var any any
			if err := yaml.Unmarshal(b, &any); err != nil {
				why, _, _ := strings.Cut(err.Error(), "\n")
				f.BadFile = fmt.Sprintf("%s: %s", file, redactLine(why))
			}
		}
	}
	if !onAlibaba(h) {
		f.Elsewhere = ""
	}
}

func onAlibaba(h host.Files) bool {
	id, _ := readLine(h, "/run/cloud-init/cloud-id")
	vendor, _ := readLine(h, "/sys/class/dmi/id/sys_vendor")
	return id == "aliyun" || strings.Contains(vendor, "Alibaba")
}

// boot reads what it noted of this boot. status.json is written while it runs and has what failed in which stage; result.json comes last.
func (f *cloudInitFacts) boot(h host.Files) error {
	var result struct {
		V1 struct {
			Datasource string   `json:"datasource"`
			Errors     []string `json:"errors"`
		} `json:"v1"`
	}
	const resultFile = "/run/cloud-init/result.json"
	b, err := h.ReadFile(resultFile)
	if errors.Is(err, fs.ErrNotExist) {
		f.Finished = probes.Some(false)
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &result)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", resultFile, err)
	}
	f.Finished = probes.Some(true)
	// "DataSourceNoCloud [seed=/var/lib/cloud/seed/nocloud][dsmode=net]": the name alone.
	source, _, _ := strings.Cut(result.V1.Datasource, " ")
	f.Datasource = probes.Some(source)
	f.Failed = len(result.V1.Errors)
	for _, line := range result.V1.Errors[:min(f.Failed, 5)] {
		f.Errors = append(f.Errors, redactLine(line))
	}
	f.Ignored, err = userDataIgnored(h)
	f.invalid(h)
	return err
}

// yamlTrouble is what util.load_yaml and the handlers of cloud-init say of a text that is not what it should be: "Failed loading yaml
// blob. Invalid format at line 6 column 1: …". Before 20.x the line was not in it.
var yamlTrouble = regexp.MustCompile(`Failed loading yaml blob\.?([^\n]*)|Failed at merging in cloud config part from [^:\n]*: ([^\n]*)`)

var yamlLine = regexp.MustCompile(`line (\d+)`)

// invalid looks for that in what it wrote since it last began.
func (f *cloudInitFacts) invalid(h host.Files) {
	b, err := h.ReadTail("/var/log/cloud-init.log", cloudInitLogTail)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		f.Invalid = probes.Unread[string](err.Error())
		return
	}
	m := yamlTrouble.FindStringSubmatch(lastRun(string(b)))
	if m == nil {
		f.Invalid = probes.Some("")
		return
	}
	f.Invalid = probes.Some(redactLine(strings.TrimSpace(m[0])))
	if at := yamlLine.FindStringSubmatch(m[0]); at != nil {
		if n, err := strconv.Atoi(at[1]); err == nil {
			f.BadLine = probes.Some(n)
		}
	}
}

// userDataUnknown is cloud-init's warning for user data of no known kind: walker_callback of cloudinit/handlers/__init__.py.
const userDataUnknown = "Unhandled non-multipart (text/x-not-multipart) userdata"

func userDataIgnored(h host.Files) (probes.Opt[bool], error) {
	const statusFile = "/run/cloud-init/status.json"
	b, err := h.ReadFile(statusFile)
	if err == nil && strings.Contains(string(b), `"recoverable_errors"`) {
		return probes.Some(strings.Contains(string(b), userDataUnknown)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return probes.None[bool](), fmt.Errorf("reading %s: %w", statusFile, err)
	}
	b, err = h.ReadTail("/var/log/cloud-init.log", cloudInitLogTail)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return probes.None[bool](), nil
	case err != nil:
		return probes.Unread[bool](err.Error()), nil
	}
	return probes.Some(lastRunSays(string(b), userDataUnknown)), nil
}

// lastRunSays reports whether a text is in the log since cloud-init last began.
func lastRunSays(log, text string) bool { return strings.Contains(lastRun(log), text) }

func lastRun(log string) string {
	if at := strings.LastIndex(log, "running 'init-local'"); at >= 0 {
		log = log[at:]
	}
	return log
}
