package meta

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hostmend/hostmend/playbooks"
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
