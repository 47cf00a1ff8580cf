package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/goccy/go-yaml"
)

// AllowedCommands is what an operator lets checks run on a host, /etc/hostmend/commands.yaml:
//
//	commands:
//	  - argv: [/usr/bin/redis-cli, -p, {match: "[0-9]{2,5}"}, ping]
//
// A command runs if its words are those of an entry. {match: REGEX} stands for one word that the expression matches as a whole.
type AllowedCommands struct {
	Commands []struct {
		Argv []commandWord `yaml:"argv"`
		Why  string        `yaml:"why"` // for readers
	} `yaml:"commands"`
}

type commandWord struct {
	text    string
	pattern *regexp.Regexp
}

// UnmarshalYAML reads a text, or {match: REGEX}.
func (w *commandWord) UnmarshalYAML(data []byte) error {
	if yaml.UnmarshalWithOptions(data, &w.text) == nil && w.text != "" {
		return nil
	}
	var place struct {
		Match string `yaml:"match"`
	}
	if err := yaml.UnmarshalWithOptions(data, &place, yaml.Strict()); err != nil {
		return errors.New(`a word of argv is a text ("5432" in quotes) or {match: REGEX}`)
	}
	if place.Match == "" {
		return errors.New("an empty match allows nothing")
	}
	if _, err := regexp.Compile(place.Match); err != nil { // by itself: a)|(?:b would open what is put around it
		return err
	}
	var err error
	w.pattern, err = regexp.Compile(`^(?:` + place.Match + `)$`)
	return err
}

// maxCommands is the size of the longest list that is read.
const maxCommands = 256 << 10

// ParseCommands reads a list of allowed commands.
func ParseCommands(data []byte) (*AllowedCommands, error) {
	var list AllowedCommands
	if len(data) > maxCommands {
		return nil, fmt.Errorf("it is %w of %d bytes", ErrTooLarge, maxCommands)
	}
	if err := yaml.UnmarshalWithOptions(data, &list, yaml.Strict()); err != nil {
		return nil, err
	}
	for i, c := range list.Commands {
		if len(c.Argv) == 0 || c.Argv[0].pattern != nil || !path.IsAbs(c.Argv[0].text) || path.Clean(c.Argv[0].text) != c.Argv[0].text {
			return nil, fmt.Errorf("commands[%d]: argv begins with the whole path of a program", i)
		}
	}
	return &list, nil
}

// Allows reports whether an entry is this command.
func (a *AllowedCommands) Allows(argv []string) bool {
	for _, c := range a.Commands {
		if slices.EqualFunc(c.Argv, argv, func(w commandWord, word string) bool {
			if w.pattern != nil {
				return w.pattern.MatchString(word)
			}
			return w.text == word
		}) {
			return true
		}
	}
	return false
}

// run runs a command that the operator's list allows. The program and the list must be such that nobody but root could have put them
// there: hostmend runs as root.
func (q *checking) run(ctx context.Context) (CheckAnswer, error) {
	name := q.operatorFile("commands.yaml")
	data, err := readTrusted(name, maxCommands, 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		return CheckAnswer{}, fmt.Errorf("running %q: %w: there is no %s", q.Command, ErrNotAllowed, name)
	} else if err != nil {
		return CheckAnswer{}, fmt.Errorf("running %q: %w", q.Command, err)
	}
	list, err := ParseCommands(data)
	if err != nil {
		return CheckAnswer{}, fmt.Errorf("%s: %w", name, err)
	}
	if !list.Allows(q.Command) {
		return CheckAnswer{}, fmt.Errorf("running %q: %w in %s", q.Command, ErrNotAllowed, name)
	}
	program := q.Command[0]
	if err := trustProgram(program); err != nil {
		return CheckAnswer{}, err
	}
	out, err := execute(ctx, program, q.Limit, q.Command[1:]...)
	if err != nil {
		return CheckAnswer{}, err
	}
	a := CheckAnswer{Exit: out.Exit, Size: int64(len(out.Stdout))}
	q.match(&a, q.readable(string(out.Stdout), false, false))
	return a, nil
}

// trustProgram makes sure that only root can have put a program where it is: the file, where links lead, and every directory on both ways.
func trustProgram(program string) error {
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		return err
	}
	fi, err := os.Stat(real)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is no program", program)
	}
	errs := []error{trusted(real, fi, 0o022)}
	for _, way := range []string{program, real} {
		for dir := path.Dir(way); ; dir = path.Dir(dir) {
			errs = append(errs, trust(dir, 0o022))
			if dir == "/" {
				break
			}
		}
	}
	return errors.Join(errs...)
}
