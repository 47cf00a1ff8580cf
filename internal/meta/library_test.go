package meta

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/playbooks/library"
	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/probes/linux"
	"github.com/hostmend/hostmend/probes/network"
	remediate "github.com/hostmend/hostmend/remediate/linux"
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
			if len(p.Covers) == 0 {
				t.Error("`covers` is empty: what does this answer? doc/NAME, and its names in other systems")
			}
			if len(p.See) == 0 {
				t.Error("`see` is empty: where does this knowledge come from?")
			}
		})
	}
}

func loadLibrary(t *testing.T) *playbooks.Library {
	t.Helper()
	names, err := fs.Glob(library.FS, "*.yaml")
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
	l, err := playbooks.Load(files, hostProbes(), remediate.Actions())
	if err != nil {
		t.Fatal(err)
	}
	return l
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

// Beside playbooks and their stories the library holds nothing but the file that embeds them.
func TestLibraryHoldsOnlyPlaybooks(t *testing.T) {
	dir := filepath.Join(root, "playbooks/library")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]string{".yaml": ".txtar", ".txtar": ".yaml", ".go": ".go"}
	for _, e := range entries {
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
