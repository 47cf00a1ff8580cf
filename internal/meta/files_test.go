package meta

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tracked are the files of the repository as they lie here, without those that are not text.
func tracked(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git work tree: %v", err)
	}
	files := map[string]string{}
	for name := range bytes.SplitSeq(bytes.TrimRight(out, "\x00"), []byte{0}) {
		text, err := os.ReadFile(filepath.Join(root, string(name)))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.ContainsRune(text, 0) {
			files[string(name)] = string(text)
		}
	}
	return files
}

// What must not be in any file, by reason. A module's checksum is random letters, so go.sum is not looked at.
func TestFilesHoldNothingForeign(t *testing.T) {
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	forbidden := []struct {
		pattern      string
		ends, except string // only in files whose name ends so, and not so
		why          string
	}{
		{`\Q` + here + `\E|/go/pkg/mod/|/\.cache/go-build`, "", "", "a path of somebody's machine"},
		{`https?://[a-z0-9.-]*(artifactory|nexus|goproxy|proxy\.golang|registry\.npmjs)`, "", "", "a registry's host: checksums say what, wherever from"},
		{`\b(TODO|FIXME|XXX)\b`, "", "", "a promise; open an issue instead"},
		{`panic\("`, ".go", "_test.go", "a panic; return an error"},
		{`(?m)^replace\b`, "go.mod", "", "a replacement, which does not reach those who depend on us"},
		{`\t`, ".yaml", "", "a tab, which YAML does not take for indentation"},
		{`(?m)^(<<<<<<<|>>>>>>>) `, "", "", "a merge conflict"},
	}
	for _, f := range forbidden {
		pattern := regexp.MustCompile(f.pattern)
		for name, text := range tracked(t) {
			if !strings.HasSuffix(name, f.ends) || f.except != "" && strings.HasSuffix(name, f.except) {
				continue
			}
			if strings.HasSuffix(name, "go.sum") || strings.HasPrefix(name, "internal/meta/") {
				continue
			}
			if at := pattern.FindStringIndex(text); at != nil {
				t.Errorf("%s:%d: %s", name, 1+strings.Count(text[:at[0]+1], "\n"), f.why)
			}
		}
	}
}

// The license stands once, at the root; a header in every file would only be noise to read past.
func TestLicense(t *testing.T) {
	files := tracked(t)
	if !strings.Contains(files["LICENSE"], "Apache License") || !strings.Contains(files["LICENSE"], "Version 2.0, January 2004") {
		t.Error("LICENSE is not the Apache License 2.0")
	}
	for name, text := range files {
		if strings.HasSuffix(name, ".go") && strings.Contains(text[:min(len(text), 400)], "Licensed under") {
			t.Errorf("%s has a license header; the license stands in LICENSE alone", name)
		}
	}
}

var (
	makeCommand = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z-]*)\\b")
	makeTarget  = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	fenced      = regexp.MustCompile("(?ms)^```.*?^```$")
	inCode      = regexp.MustCompile("`[^`\n]+`")
	heading     = regexp.MustCompile(`(?m)^(#+) `)
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

func TestDocumentedTargetsExist(t *testing.T) {
	files := tracked(t)
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(files["Makefile"], -1) {
		targets[m[1]] = true
	}
	for _, name := range []string{"README.md", "README.zh-CN.md", "CONTRIBUTING.md"} {
		code := strings.Join(append(fenced.FindAllString(files[name], -1), inCode.FindAllString(files[name], -1)...), "\n")
		found := makeCommand.FindAllStringSubmatch(code, -1)
		if len(found) == 0 {
			t.Errorf("%s names no make target", name)
		}
		for _, m := range found {
			if !targets[m[1]] {
				t.Errorf("%s: make %s is not a target of the Makefile", name, m[1])
			}
		}
	}
}

// The two READMEs say the same: same headings in depth and number, same commands.
func TestReadmesAgree(t *testing.T) {
	shape := func(name string) string {
		var levels []string
		for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(tracked(t)[name], ""), -1) {
			levels = append(levels, m[1])
		}
		return strings.Join(levels, " ")
	}
	if en, zh := shape("README.md"), shape("README.zh-CN.md"); en != zh || en == "" {
		t.Errorf("headings of README.md are %q, of README.zh-CN.md %q", en, zh)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	for name, text := range tracked(t) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			}
		}
	}
}
