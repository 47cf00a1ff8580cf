package linux

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// KnownIssues compares the host with a table of known bugs.
var KnownIssues = probes.Define(probes.Probe[host.Host]{
	Name: "known_issues",
	Doc: `Known issues of this kernel on this machine

Compares distribution, kernel release, processor, instance type and a few files with a table of bugs that hit some hosts only
(probes/linux/known_issues.yaml). Costs 0.2 ms. The instance type is the one that cloud-init noted at boot; without cloud-init the issues
of single instance families are not found. Distributions mend bugs without changing the version's first numbers, so the table goes by each
distribution's own releases. In a container the kernel and the processor are the machine's.`,
	Every: time.Hour,
}, knownIssues)

type knownIssuesFacts struct {
	InstanceType probes.Opt[string]         `fact:"instance_type" doc:"The cloud's name for the machine's size, as in ecs.g7.large; /run/cloud-init/instance-data.json. Absent without one"`
	CPUModel     probes.Opt[string]         `fact:"cpu_model" doc:"Model name of the first processor; /proc/cpuinfo. Absent where it has none, as on arm64"`
	Issues       probes.Cut[knownIssueFact] `fact:"issues" doc:"What the host has of the table"`
}

type knownIssueFact struct {
	ID       string `fact:"id,key" doc:"Name in the table"`
	Severity string `fact:"severity" doc:"critical, warning or info"`
	WhatEN   string `fact:"what_en" doc:"What happens, in English"`
	WhatZH   string `fact:"what_zh" doc:"The same in Chinese"`
	RemedyEN string `fact:"remedy_en" doc:"What to do, in English"`
	RemedyZH string `fact:"remedy_zh" doc:"The same in Chinese"`
	Source   string `fact:"source" doc:"Where it is described"`
}

// knownIssue is a row of known_issues.yaml, whose head explains the fields.
type knownIssue struct {
	ID, Severity, Source  string
	OS                    []string
	OSVersion             string `yaml:"os_version"`
	Kernel                struct{ From, Before string }
	KernelIs              string `yaml:"kernel_is"`
	CPUVendor             string `yaml:"cpu_vendor"`
	CPUModel              string `yaml:"cpu_model"`
	Vendor, Instance      string
	CmdlineLacks          string `yaml:"cmdline_lacks"`
	Exists, Missing       []string
	Contains              map[string]string
	Mounted               []string
	What, Remedy          struct{ EN, ZH string }
	version, kernel, inst *regexp.Regexp
	model                 *regexp.Regexp
}

//go:embed known_issues.yaml
var knownIssuesYAML []byte

// knownIssueTable is decoded when it is first asked for: 1 ms, which not every command needs.
var knownIssueTable = sync.OnceValues(func() ([]knownIssue, error) {
	var table []knownIssue
	if err := yaml.UnmarshalWithOptions(knownIssuesYAML, &table, yaml.Strict()); err != nil {
		return nil, err
	}
	for i := range table {
		t := &table[i]
		for text, into := range map[*string]**regexp.Regexp{&t.OSVersion: &t.version, &t.KernelIs: &t.kernel, &t.Instance: &t.inst, &t.CPUModel: &t.model} {
			var err error
			if *into, err = regexp.Compile(*text); err != nil {
				return nil, fmt.Errorf("%s: %w", t.ID, err)
			}
		}
	}
	return table, nil
})

// knownHost is what the table is compared with.
type knownHost struct {
	release, vendor, cmdline, cpuVendor string
	os, version, model, instance        probes.Opt[string]
	mounts                              []mount
}

func knownIssues(_ context.Context, h host.Host) (knownIssuesFacts, error) {
	var f knownIssuesFacts
	table, err := knownIssueTable()
	if err != nil {
		return f, fmt.Errorf("reading the table of known issues: %w", err)
	}
	k, err := readKnownHost(h)
	if err != nil {
		return f, err
	}
	f.InstanceType, f.CPUModel = k.instance, k.model
	for i := range table {
		if t := &table[i]; k.has(h, t) {
			f.Issues.All = append(f.Issues.All, knownIssueFact{t.ID, t.Severity, t.What.EN, t.What.ZH, t.Remedy.EN, t.Remedy.ZH, t.Source})
		}
	}
	for what, fact := range map[string]probes.Opt[string]{"distribution": k.os, "processor": k.model, "instance type": k.instance} {
		if _, ok := fact.Get(); !ok && fact != probes.None[string]() {
			f.Issues.More, f.Issues.Why = 1, "the "+what+" could not be read"
		}
	}
	return f, nil
}

func readKnownHost(h host.Host) (knownHost, error) {
	var k knownHost
	var err error
	if k.release, err = readLine(h, "/proc/sys/kernel/osrelease"); err != nil {
		return k, err
	}
	var facts hostFacts
	facts.distribution(h)
	k.os, k.version = facts.OS, facts.OSVersion
	k.vendor, _ = dmi(h, "sys_vendor").Get()
	k.cmdline, _ = readLine(h, "/proc/cmdline")
	k.cpuVendor, k.model = readProcessor(h)
	k.instance = instanceType(h)
	k.mounts, err = readMounts(h)
	return k, err
}

// readProcessor reads vendor and model of the first processor.
func readProcessor(h host.Files) (vendor string, model probes.Opt[string]) {
	b, err := h.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", probes.Unread[string](err.Error())
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "vendor_id":
			vendor = value
		case "model name":
			return vendor, probes.Some(value)
		case "":
			return vendor, probes.None[string]()
		}
	}
	return vendor, probes.None[string]()
}

// instanceType is what cloud-init noted of the metadata. Its data source for Alibaba Cloud keeps the metadata's own tree.
func instanceType(h host.Files) probes.Opt[string] {
	b, err := h.ReadFile("/run/cloud-init/instance-data.json")
	if errors.Is(err, fs.ErrNotExist) {
		return probes.None[string]()
	}
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	var data struct {
		DS struct {
			MetaData struct {
				Instance struct {
					Type string `json:"instance-type"`
				} `json:"instance"`
				Type string `json:"instance-type"`
			} `json:"meta_data"`
		} `json:"ds"`
	}
	if err := json.Unmarshal(b, &data); err != nil {
		return probes.Unread[string](fmt.Sprintf("reading /run/cloud-init/instance-data.json: %v", err))
	}
	if t := cmp.Or(data.DS.MetaData.Instance.Type, data.DS.MetaData.Type); t != "" {
		return probes.Some(t)
	}
	return probes.None[string]()
}

// has reports whether all that a row says holds for the host. What is not known does not hold.
func (k *knownHost) has(h host.Files, t *knownIssue) bool {
	id, _ := k.os.Get()
	version, _ := k.version.Get()
	model, _ := k.model.Get()
	instance, _ := k.instance.Get()
	there := func(name string) bool { _, err := h.Lstat(name); return err == nil }
	gone := func(name string) bool { _, err := h.Lstat(name); return errors.Is(err, fs.ErrNotExist) }
	switch {
	case len(t.OS) > 0 && !slices.Contains(t.OS, id),
		!t.version.MatchString(version),
		t.Kernel.From != "" && compareReleases(k.release, t.Kernel.From) < 0,
		t.Kernel.Before != "" && compareReleases(k.release, t.Kernel.Before) >= 0,
		!t.kernel.MatchString(k.release),
		t.CPUVendor != "" && t.CPUVendor != k.cpuVendor,
		!t.model.MatchString(model),
		t.Vendor != "" && t.Vendor != k.vendor,
		!t.inst.MatchString(instance),
		t.CmdlineLacks != "" && (k.cmdline == "" || slices.Contains(strings.Fields(k.cmdline), t.CmdlineLacks)),
		len(t.Mounted) > 0 && !slices.ContainsFunc(k.mounts, func(m mount) bool { return slices.Contains(t.Mounted, m.fstype) }):
		return false
	}
	for _, name := range t.Exists {
		if !there(name) {
			return false
		}
	}
	for _, name := range t.Missing {
		if !gone(name) {
			return false
		}
	}
	for name, text := range t.Contains {
		if line, err := readLine(h, name); err != nil || !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// compareReleases compares the numbers that two kernel releases begin with: 4.18.0-240.1.1.el8_3 is 4, 18, 0, 240, 1, 1.
func compareReleases(a, b string) int { return slices.Compare(releaseNumbers(a), releaseNumbers(b)) }

func releaseNumbers(release string) []int {
	var list []int
	for _, part := range strings.FieldsFunc(release, func(r rune) bool { return r == '.' || r == '-' }) {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		list = append(list, n)
	}
	return list
}
