package meta

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/checks"
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
	remediate "github.com/hostmend/hostmend/remediate/linux"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(id: ([a-z-]+)\n.*?)^```$")

// Playbooks that the documentation shows pass lint: a reader will paste them.
func TestExamples(t *testing.T) {
	shown := 0
	for name, text := range tracked(t) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range yamlBlock.FindAllStringSubmatch(text, -1) {
			shown++
			file := playbooks.File{Name: m[2] + ".yaml", Data: []byte(m[1])}
			if _, err := playbooks.Load([]playbooks.File{file}, hostProbes(), remediate.Actions()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if shown == 0 {
		t.Error("no documentation shows a playbook")
	}
}

// The examples of site checks load, their playbooks read the checks' facts, and the stories come true.
func TestSiteExamples(t *testing.T) {
	read := func(pattern string) []playbooks.File {
		names, err := filepath.Glob(filepath.Join(root, "docs/examples/site", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("there is no %s: %v", pattern, err)
		}
		var files []playbooks.File
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, playbooks.File{Name: filepath.Base(name), Data: data})
		}
		return files
	}
	set, err := checks.Load(read("checks/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := probes.Validate(set.Probes()); err != nil {
		t.Error(err)
	}
	infos := slices.Concat(hostProbes(), probes.Describe(set.Probes()))
	l, err := playbooks.Load(read("playbooks/*.yaml"), infos, remediate.Actions())
	if err != nil {
		t.Fatal(err)
	}
	for _, story := range read("playbooks/*.txtar") {
		if err := playbooks.RunStory(l, story); err != nil {
			t.Error(err)
		}
	}
}
