package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
)

// A Fault is one trouble that the lab can make, in one file, faults/ID.yaml. It is written from a public source's text about
// the trouble, before the playbook that answers it, so that the score measures knowledge and not memory.
type Fault struct {
	ID     string `yaml:"id"`
	Title  string `yaml:"title"`
	Source string `yaml:"source"` // where the trouble is described: a URL
	Says   string `yaml:"says"`   // what the source says of it, in our words
	// Expect is the finding that must come first, as PLAYBOOK or PLAYBOOK/OBJECT; or "nothing": no finding above info.
	Expect string `yaml:"expect"`
	// Machine is Container, or VM if the fault needs a kernel of its own.
	Machine string `yaml:"machine"`
	// Needs are paths that must exist on the host. Where a kernel lacks one the fault is skipped.
	Needs []string `yaml:"needs"`
	// Setup makes the healthy host a special one, before anything else is looked at: it starts a database, say.
	Setup Script `yaml:"setup"`
	// Healthy and Broken are oracles, run from the client's side: does it work, is it broken in the way the source says? They
	// are asked until they say yes. Healthy adds to the check of the whole host, and most faults need no more.
	Healthy Script `yaml:"healthy"`
	Broken  Script `yaml:"broken"`
	// Inject makes the trouble and Clear takes it away again, both inside the host unless they say `gateway:`.
	Inject Script `yaml:"inject"`
	Clear  Script `yaml:"clear"`
}

// Nothing is what a host without trouble is expected to show.
const Nothing = "nothing"

// Script is shell text, and where it runs: inHost or atGateway.
type Script struct {
	Where, Text string
}

// UnmarshalYAML takes a text, or one text under the name of the place where it runs.
func (s *Script) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&s.Text); err == nil {
		return nil
	}
	placed := map[string]string{}
	if err := unmarshal(&placed); err != nil {
		return err
	}
	for where, text := range placed {
		if len(placed) != 1 || where != inHost && where != atGateway {
			return fmt.Errorf("a script is a text, or has one key, %s or %s, with the text", inHost, atGateway)
		}
		*s = Script{where, text}
	}
	return nil
}

// LoadFaults reads every file in dir, sorted by name, and reports all that is wrong with any of them.
func LoadFaults(dir string) ([]Fault, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no faults in %s", dir)
	}
	var faults []Fault
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f, err := ParseFault(strings.TrimSuffix(filepath.Base(file), ".yaml"), text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
			continue
		}
		faults = append(faults, f)
	}
	return faults, errors.Join(errs...)
}

var (
	idPattern     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	expectPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*(/.+)?$`)
)

// ParseFault reads the fault in the file called id, and reports all that is wrong with it at once.
func ParseFault(id string, text []byte) (Fault, error) {
	f := Fault{
		Machine: Container, Setup: Script{Where: inHost},
		Healthy: Script{Where: atGateway}, Broken: Script{Where: atGateway},
		Inject: Script{Where: inHost}, Clear: Script{Where: inHost},
	}
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict()); err != nil {
		return f, err
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if f.ID != id {
		wrong("id: is %q, but the file is called %q", f.ID, id)
	}
	if !idPattern.MatchString(f.ID) {
		wrong("id: %q is not lower-case words joined by hyphens", f.ID)
	}
	if f.Title == "" || strings.Contains(f.Title, "\n") {
		wrong("title: say in one line what is wrong with the host")
	}
	if u, err := url.Parse(f.Source); err != nil || u.Scheme != "https" || u.Host == "" {
		wrong("source: %q is not the https address of a public text about the trouble", f.Source)
	}
	if f.Says == "" {
		wrong("says: tell what the source says of the trouble")
	}
	if !expectPattern.MatchString(f.Expect) {
		wrong("expect: %q is neither PLAYBOOK, PLAYBOOK/OBJECT nor %q", f.Expect, Nothing)
	}
	if f.Machine != Container && f.Machine != VM {
		wrong("machine: %q is neither %s nor %s", f.Machine, Container, VM)
	}
	for _, path := range f.Needs {
		if !strings.HasPrefix(path, "/") {
			wrong("needs: %q is not an absolute path", path)
		}
	}
	for name, s := range map[string]Script{"inject": f.Inject, "broken": f.Broken, "clear": f.Clear} {
		if strings.TrimSpace(s.Text) == "" && !(f.Expect == Nothing) {
			wrong("%s: missing", name)
		}
	}
	return f, errors.Join(errs...)
}
