package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Kind is what a fault is for, and the directory that its file is in.
type Kind string

// The kinds, in the order of the score.
const (
	Faults  Kind = "faults"  // one trouble each; most were there when the playbooks were written, which is why there is
	Frozen  Kind = "frozen"  // more of them, written last by people who had not read the library, and never changed since
	Learnt  Kind = "learnt"  // what was frozen before, when the library has learnt from it
	Doubles Kind = "doubles" // two troubles at once that have nothing to do with each other
	Decoys  Kind = "decoys"  // healthy hosts that look sick
	Scenes  Kind = "scenes"  // not scored: so that a playbook has a host from life
)

var kinds = []Kind{Faults, Frozen, Learnt, Doubles, Decoys, Scenes}

// A Fault is one trouble that the lab can make, in one file, KIND/ID.yaml. It is written from a public source's text about
// the trouble, before the playbook that answers it, so that the score measures knowledge and not memory.
type Fault struct {
	Kind   Kind   `yaml:"-"`
	ID     string `yaml:"id"`
	Title  string `yaml:"title"`
	Source string `yaml:"source"` // where the trouble is described: a URL
	Says   string `yaml:"says"`   // what the source says of it, in our words
	Expect Expect `yaml:"expect"`
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

// Expect is the finding that must come first, as PLAYBOOK or PLAYBOOK/OBJECT; several, that must come first in any order; or
// Nothing: no finding above info.
type Expect []string

// Nothing is what a host without trouble is expected to show.
const Nothing = "nothing"

// ToBeNamed stands in a frozen fault whose right answer nobody has named yet. Until somebody has, it is sealed: no diagnosis may see its host.
const ToBeNamed = "to-be-named"

// UnmarshalYAML takes one text or a list.
func (e *Expect) UnmarshalYAML(unmarshal func(any) error) error {
	var one string
	if err := unmarshal(&one); err == nil {
		*e = Expect{one}
		return nil
	}
	return unmarshal((*[]string)(e))
}

func (e Expect) String() string { return strings.Join(e, " and ") }

// has reports whether f is one of what is expected.
func (e Expect) has(f Finding) bool {
	return slices.Contains(e, f.Playbook) || slices.Contains(e, f.String())
}

func (e Expect) nothing() bool { return len(e) == 1 && e[0] == Nothing }

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

// sealed reports whether its right answer is still to be named.
func (f Fault) sealed() bool { return f.Kind == Frozen && slices.Contains(f.Expect, ToBeNamed) }

// plain reports whether nothing is done to the host at all.
func (f Fault) plain() bool { return f.Kind == Decoys && f.Setup.Text+f.Inject.Text == "" }

// LoadFaults reads every fault of the kinds, each kind sorted by name, and reports all that is wrong with any of them.
func LoadFaults(dir string, kinds ...Kind) ([]Fault, error) {
	var faults []Fault
	var errs []error
	at := map[string]string{}
	for _, kind := range kinds {
		files, err := filepath.Glob(filepath.Join(dir, string(kind), "*.yaml"))
		errs = append(errs, err)
		for _, file := range files {
			f, err := loadFault(kind, file)
			if err == nil && at[f.ID] != "" {
				err = fmt.Errorf("there is %s already", at[f.ID])
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", file, err))
				continue
			}
			at[f.ID] = file
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		errs = append(errs, fmt.Errorf("no faults in %s", dir))
	}
	return faults, errors.Join(errs...)
}

func loadFault(kind Kind, file string) (Fault, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Fault{}, err
	}
	return ParseFault(kind, strings.TrimSuffix(filepath.Base(file), ".yaml"), text)
}

var (
	idPattern     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	expectPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*(/.+)?$`)
)

// ParseFault reads the fault in the file called id, and reports all that is wrong with it at once.
func ParseFault(kind Kind, id string, text []byte) (Fault, error) {
	f := Fault{
		Kind: kind, Machine: Container, Setup: Script{Where: inHost},
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
	if problem := f.Expect.problem(kind); problem != "" {
		wrong("expect: %s", problem)
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
		if strings.TrimSpace(s.Text) == "" && kind != Decoys {
			wrong("%s: missing", name)
		}
	}
	return f, errors.Join(errs...)
}

// problem says why this cannot be expected of such a fault, or nothing.
func (e Expect) problem(kind Kind) string {
	for _, finding := range e {
		if !expectPattern.MatchString(finding) {
			return fmt.Sprintf("%q is neither PLAYBOOK, PLAYBOOK/OBJECT nor %q", finding, Nothing)
		}
	}
	switch {
	case kind == Decoys && !e.nothing():
		return fmt.Sprintf("a decoy is healthy: %q", Nothing)
	case kind != Decoys && slices.Contains(e, Nothing):
		return "a host where nothing should be found is one of the decoys"
	case kind == Doubles && len(e) < 2:
		return "two troubles at once are a list of two findings"
	case kind != Doubles && len(e) != 1:
		return "one finding, unless it is one of the doubles"
	}
	return ""
}
