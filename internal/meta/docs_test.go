package meta

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hostmend/hostmend/checks"
	"github.com/hostmend/hostmend/playbooks"
	remediate "github.com/hostmend/hostmend/remediate/linux"
	"github.com/hostmend/hostmend/report"
)

var update = flag.Bool("update", false, "write the generated files in docs/ instead of comparing them")

// TestDocs holds the reference pages to what the program prints. `make docs` writes them.
func TestDocs(t *testing.T) {
	program := filepath.Join(t.TempDir(), "hostmend")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/hostmend")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var actions bytes.Buffer
	if err := report.ActionReference(&actions, remediate.Actions()); err != nil {
		t.Fatal(err)
	}
	library, covers := loadLibrary(t), loadCovers(t)
	var coverage bytes.Buffer
	if err := report.Coverage(&coverage, covers, library.Playbooks(), lived(t), unlived(t)); err != nil {
		t.Fatal(err)
	}
	var profiles bytes.Buffer
	if err := report.ProfileReference(&profiles, loadProfiles(t), library, covers); err != nil {
		t.Fatal(err)
	}
	pages := []struct {
		file string
		text []byte
	}{
		{"docs/probes.md", output(t, program, "probe", "docs")},
		{"docs/playbooks.md", output(t, program, "playbook", "docs")},
		{"docs/actions.md", actions.Bytes()},
		{"docs/coverage.md", coverage.Bytes()},
		{"docs/profiles.md", profiles.Bytes()},
		{"docs/cli.md", commands(t, program)},
		{"docs/language.md", playbooks.Reference()},
		{"docs/schema/playbook.schema.json", playbooks.Schema()},
		{"docs/checks.md", checks.Reference()},
		{"docs/schema/checks.schema.json", checks.Schema()},
	}
	for _, page := range pages {
		file := filepath.Join(root, page.file)
		if *update {
			if err := os.WriteFile(file, page.text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		old, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(old), "\n"), strings.Split(string(page.text), "\n")); diff != "" {
			t.Errorf("%s is stale; run `make docs` (-old +new):\n%s", page.file, diff)
		}
	}
}

func output(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "COLUMNS=100")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hostmend %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// listed finds the names under "Available Commands:" in a command's help.
var listed = regexp.MustCompile(`(?m)^  ([a-z-]+) {2,}\S`)

// commands is the reference of the command line: the help of every command.
func commands(t *testing.T, program string) []byte {
	t.Helper()
	page := bytes.NewBufferString("# Commands\n\nWhat `hostmend COMMAND --help` says. Written by `make docs`; do not edit.\n")
	var visit func(path []string)
	visit = func(path []string) {
		help := string(output(t, program, append(path, "--help")...))
		page.WriteString("\n## " + strings.Join(append([]string{"hostmend"}, path...), " ") + "\n\n```\n" + strings.TrimSpace(help) + "\n```\n")
		_, list, _ := strings.Cut(help, "Available Commands:\n")
		list, _, _ = strings.Cut(list, "\n\n")
		for _, m := range listed.FindAllStringSubmatch(list, -1) {
			if m[1] != "help" && m[1] != "completion" { // cobra's own
				visit(append(slices.Clip(path), m[1]))
			}
		}
	}
	visit(nil)
	return page.Bytes()
}
