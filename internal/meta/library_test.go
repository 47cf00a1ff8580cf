package meta

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/playbooks/library"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/probes/linux"
	"github.com/hostmend/hostmend/probes/network"
	remediate "github.com/hostmend/hostmend/remediate/linux"
	"github.com/hostmend/hostmend/report"
)

// hostProbes describes the probes that ask a host.
func hostProbes() []probes.Info {
	return probes.Describe(slices.Concat(linux.Probes(), network.Probes()))
}

// The library loads without a problem, is written in both languages, and every playbook's story comes true.
func TestLibrary(t *testing.T) {
	l := loadLibrary(t)
	if err := l.Untranslated(); err != nil {
		t.Error(err)
	}
	for _, p := range l.Playbooks() {
		t.Run(p.ID, func(t *testing.T) {
			name := p.ID + ".txtar"
			data, err := os.ReadFile(filepath.Join(root, "playbooks/library", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := playbooks.RunStory(l, playbooks.File{Name: name, Data: data}); err != nil {
				t.Error(err)
			}
			if p.Means.EN == "" {
				t.Error("`means` is missing: what is this trouble, and what do users feel of it?")
			}
			if len(p.Covers) == 0 {
				t.Error("`covers` is empty: what does this answer? doc/NAME, and its names in other systems")
			}
			if len(p.See) == 0 {
				t.Error("`see` is empty: where does this knowledge come from?")
			}
		})
	}
}

// lived are the playbooks that have a story from life.
func lived(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "playbooks/library/life/*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, f := range files {
		ids = append(ids, strings.TrimSuffix(filepath.Base(f), ".txtar"))
	}
	return ids
}

// unlived says of the playbooks that have none why no host to be had here shows their trouble.
func unlived(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "playbooks/library/life/none.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var why map[string]string
	if err := yaml.Unmarshal(text, &why); err != nil {
		t.Fatal("life/none.yaml: ", err)
	}
	return why
}

// Every playbook has a story from life or a reason why it has none, never both.
func TestLifeOrReason(t *testing.T) {
	stories, reasons := lived(t), unlived(t)
	for _, p := range loadLibrary(t).Playbooks() {
		story, reason := slices.Contains(stories, p.ID), reasons[p.ID] != ""
		switch {
		case story && reason:
			t.Errorf("%s has a story from life: take its reason out of life/none.yaml", p.ID)
		case !story && !reason:
			t.Errorf("%s has no story from life: make one of a lab host (lab/README.md), or say in life/none.yaml why none can show it", p.ID)
		}
		delete(reasons, p.ID)
	}
	for id := range reasons {
		t.Errorf("life/none.yaml: %s is no playbook", id)
	}
}

// What happened on real hosts comes out as it did. (TestLibrary asks for the stories by hand.)
func TestLife(t *testing.T) {
	l := loadLibrary(t)
	for _, id := range lived(t) {
		data, err := os.ReadFile(filepath.Join(root, "playbooks/library/life", id+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		if err := playbooks.RunLife(l, playbooks.File{Name: "life/" + id + ".txtar", Data: data}); err != nil {
			t.Error(err)
		}
	}
}

func loadLibrary(t *testing.T) *playbooks.Library {
	t.Helper()
	l, err := playbooks.Load(libraryFiles(t, "*.yaml"), hostProbes(), remediate.Actions())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func loadCovers(t *testing.T) *playbooks.Covers {
	t.Helper()
	c, err := playbooks.LoadCovers(libraryFiles(t, "covers/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loadProfiles(t *testing.T) playbooks.Profiles {
	t.Helper()
	p, err := playbooks.LoadProfiles(libraryFiles(t, "profiles/*.yaml"), hostProbes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What profiles name is in the lists or is a playbook, and no playbook is left to none of the states.
func TestProfiles(t *testing.T) {
	l, covers := loadLibrary(t), loadCovers(t)
	names := map[string]bool{}
	for _, p := range loadProfiles(t) {
		if names[p.Name] {
			t.Errorf("%s is given twice", p.Name)
		}
		names[p.Name] = true
		if p.Title.ZH == "" {
			t.Errorf("%s has no Chinese title", p.Name)
		}
		for _, pattern := range slices.Concat(p.Covers, p.First, p.Waits) {
			one := playbooks.Profile{Covers: []string{pattern}}
			if len(one.Asks(covers)) == 0 && len(one.Of(l).Playbooks()) == 0 && pattern != "windows/*" {
				t.Errorf("%s: %s means nothing that there is", p.Name, pattern)
			}
		}
		if p.When != "" && len(p.Of(l).Playbooks()) != len(l.Playbooks()) {
			t.Errorf("%s is chosen by the host's state and does not hold everything: it would hide troubles", p.Name)
		}
	}
	for _, name := range []string{"default", "dms-instancedefault", "dms-osstartfaildiagnose"} {
		if !names[name] {
			t.Errorf("there is no profile %s", name)
		}
	}
}

// libraryFiles are the library's files whose names match.
func libraryFiles(t *testing.T, pattern string) []playbooks.File {
	t.Helper()
	names, err := fs.Glob(library.FS, pattern)
	if err != nil || len(names) == 0 {
		t.Fatal("no playbooks: ", err)
	}
	var files []playbooks.File
	for _, name := range names {
		data, err := library.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, playbooks.File{Name: name, Data: data})
	}
	return files
}

// Every name that others give to a trouble has a playbook, or a reason why none can answer it. A name that neither has is open, with a
// word about what it waits for; one that is answered is not.
func TestCoverage(t *testing.T) {
	l, covers := loadLibrary(t), loadCovers(t)
	if err := l.CheckCovers(covers); err != nil {
		t.Error(err)
	}
	answered := report.Answered(l.Playbooks())
	for _, c := range covers.All() {
		switch n := len(answered[c.Name]); {
		case n == 0 && c.Not == "" && c.Open == "":
			t.Errorf("%s has lost its last playbook: nothing finds that %s", c.Name, c.What)
		case c.Open != "" && (n > 0 || c.Not != ""):
			t.Errorf("%s is answered by %v: it is open no longer", c.Name, answered[c.Name])
		}
	}
}

// A host without any network has neither trouble, and its readings do not say "unknown".
func TestReadingsWithoutNetwork(t *testing.T) {
	l := loadLibrary(t)
	facts := "routes: {ipv4: 0, ipv6: 0, via_gateway: 0, default_ipv4: false, default_ipv6: false, defaults: [], default_interface: null}\n" +
		"interfaces: {links: [], primary: null}\n"
	snap, err := playbooks.Facts(hostProbes(), playbooks.File{Name: "facts", Data: []byte(facts)})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"default-route-missing": "the default route of IPv4 leads through no interface",
		"dhcp-failed":           "the interface of the default route: none",
	}
	for _, c := range l.Match(snap, nil).Checks {
		w, ok := want[c.Playbook]
		if ok && (c.Verdict != playbooks.No || c.Reading.EN != w) {
			t.Errorf("%s: %s, %q; want no, %q", c.Playbook, c.Verdict, c.Reading.EN, w)
		}
		delete(want, c.Playbook)
	}
	if len(want) > 0 {
		t.Error("not judged: ", want)
	}
}

// Beside playbooks, their stories and the lists in directories of their own the library holds nothing but the file that embeds them.
func TestLibraryHoldsOnlyPlaybooks(t *testing.T) {
	dir := filepath.Join(root, "playbooks/library")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]string{".yaml": ".txtar", ".txtar": ".yaml", ".go": ".go"}
	for _, e := range entries {
		if e.IsDir() {
			if !slices.Contains([]string{"covers", "life", "profiles"}, e.Name()) {
				t.Errorf("%s is not a directory of the library", e.Name())
			}
			continue
		}
		ext := filepath.Ext(e.Name())
		beside, ok := other[ext]
		if !ok {
			t.Errorf("%s is neither a playbook nor a story", e.Name())
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, strings.TrimSuffix(e.Name(), ext)+beside)); err != nil {
			t.Errorf("%s has no %s beside it", e.Name(), beside)
		}
	}
}
