package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/report"
)

func playbookCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "playbook", Short: "Write, check and explain playbooks", Args: cobra.NoArgs, RunE: needsCommand}
	c.AddCommand(playbookLint(p), playbookTest(p), playbookExplain(p), playbookNew(p), playbookDocs(p), playbookProfiles(p), playbookSchema(p), playbookStory(p))
	return c
}

// needsCommand is what a command does that only holds others.
func needsCommand(c *cobra.Command, _ []string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("%q wants one of: %s", c.CommandPath(), strings.Join(names, ", "))
}

func playbookLint(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:     "lint [FILE|DIR...]",
		Short:   "Check playbooks and say all that is wrong; without arguments, the built-in ones",
		Example: "  hostmend playbook lint swap.yaml\n  hostmend playbook lint playbooks/library",
		RunE: func(_ *cobra.Command, paths []string) error {
			l, err := p.loadLibrary(paths...)
			if err != nil {
				return err
			}
			covers, err := builtinCovers()
			if err != nil {
				return err
			}
			if err := l.CheckCovers(covers); err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.Stdout, "%s, no problems\n", counted(len(l.Playbooks()), "playbook"))
			return err
		},
	}
	p.checksFlag(c)
	return c
}

func playbookTest(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:     "test FILE|DIR...",
		Short:   "Play the stories of playbooks: NAME.txtar beside NAME.yaml",
		Example: "  hostmend playbook test swap.yaml\n  hostmend playbook test playbooks/library",
		Long: `test plays what the stories tell, and compares what the playbooks say with what they should. The program holds the built-in playbooks
but not their stories; these are in the source tree, in playbooks/library.`,
		RunE: func(_ *cobra.Command, paths []string) error {
			if len(paths) == 0 {
				return errors.New("say a FILE or DIR: the built-in stories are in the source tree, playbooks/library, and not in this program")
			}
			l, err := p.loadLibrary(paths...)
			if err != nil {
				return err
			}
			files, err := readFiles(paths)
			if err != nil {
				return err
			}
			var failed []error
			stories := len(files)
			for _, f := range files {
				name := strings.TrimSuffix(f.Name, ".yaml") + ".txtar"
				if err := runStory(l, name, playbooks.RunStory); err != nil {
					failed = append(failed, err)
				}
				life := filepath.Join(filepath.Dir(name), "life", filepath.Base(name))
				if _, err := os.Stat(life); errors.Is(err, fs.ErrNotExist) {
					continue
				}
				stories++
				if err := runStory(l, life, playbooks.RunLife); err != nil {
					failed = append(failed, err)
				}
			}
			if len(failed) > 0 {
				return fmt.Errorf("%w\n%d of %s failed", errors.Join(failed...), len(failed), counted(stories, "story"))
			}
			_, err = fmt.Fprintf(p.Stdout, "%s, all as told\n", counted(stories, "story"))
			return err
		},
	}
	p.checksFlag(c)
	return c
}

func runStory(l *playbooks.Library, name string, play func(*playbooks.Library, playbooks.File) error) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: the playbook has no story", name)
	}
	if err != nil {
		return fmt.Errorf("reading the story: %w", err)
	}
	return play(l, playbooks.File{Name: name, Data: data})
}

func playbookStory(p *program) *cobra.Command {
	var about string
	j := &judging{}
	c := &cobra.Command{
		Use:   "story ID CAPTURE.txtar",
		Short: "Make a story of a captured host: the facts that a playbook reads, and what it makes of them",
		Long: `story writes to standard output what ` + "`hostmend playbook test`" + ` plays: the facts of the capture that the playbook reads, its verdict and its
finding as they are now. In the library it lies in life/ID.txtar. Read it first: whether the verdict is right is yours to say, and host
names, addresses and log lines are in it.`,
		Example:           "  hostmend playbook story disk-saturated case.txtar > playbooks/library/life/disk-saturated.txtar",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.FixedCompletions(toCompletions(libraryIDs()), cobra.ShellCompDirectiveDefault),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := p.open(args[1])
			if err != nil {
				return err
			}
			library, err := j.library(p)
			if err != nil {
				return err
			}
			one, err := library.Only(args[0])
			if err != nil {
				return err
			}
			story, err := playbooks.CaptureStory(library, args[0], about, p.look(c.Context(), h, one.Needs()))
			if err != nil {
				return err
			}
			_, err = p.Stdout.Write(story)
			return err
		},
	}
	j.libraryFlags(p, c)
	c.Flags().StringVar(&about, "about", "What hostmend saw on a host.", "what happened there, and where the capture is from")
	return c
}

// counted is a number with its noun: 1 story, 2 stories.
func counted(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		noun = noun[:len(noun)-1] + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func playbookExplain(p *program) *cobra.Command {
	var capture string
	j := &judging{}
	c := &cobra.Command{
		Use:   "explain ID|FILE",
		Short: "Tell clause by clause how a playbook judges this host, or a captured one",
		Example: `  hostmend playbook explain filesystem-full
  hostmend playbook explain swap.yaml --replay case.txtar`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(toCompletions(libraryIDs()), cobra.ShellCompDirectiveDefault),
		RunE: func(c *cobra.Command, args []string) error {
			id := args[0]
			if filepath.Ext(id) == ".yaml" {
				j.paths, id = []string{id}, idOf(id)
			}
			j.only = []string{id}
			library, err := j.library(p)
			if err != nil {
				return err
			}
			var h host.Host = p.local(j.offline)
			if capture != "" {
				if h, err = p.open(capture); err != nil {
					return err
				}
			}
			s := p.look(c.Context(), h, library.Needs())
			if err := c.Context().Err(); err != nil {
				return err
			}
			e, err := library.Explain(s, id)
			if err != nil {
				return err
			}
			return report.WriteExplanation(p.Stdout, p.page(), &e)
		},
	}
	j.libraryFlags(p, c)
	c.Flags().StringVar(&capture, "replay", "", "judge this capture instead of this host")
	c.Flags().BoolVar(&j.offline, "no-network", false, "send no packets; what needs them is not known")
	return c
}

func playbookDocs(p *program) *cobra.Command {
	var language bool
	c := &cobra.Command{
		Use: "docs [FILE|DIR...]", Short: "Print the reference of playbooks, in Markdown; without arguments, of the built-in ones",
		RunE: func(_ *cobra.Command, paths []string) error {
			if language {
				_, err := p.Stdout.Write(playbooks.Reference())
				return err
			}
			l, err := p.loadLibrary(paths...)
			if err != nil {
				return err
			}
			return report.PlaybookReference(p.Stdout, l.Playbooks())
		},
	}
	p.checksFlag(c)
	c.Flags().BoolVar(&language, "language", false, "the reference of the language instead")
	return c
}

func playbookProfiles(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "profiles [NAME]",
		Short: "List the profiles that a diagnosis may be made by, or what one contains",
		Long: `A profile is a question that a host is asked: some of the playbooks, in an order. ` + "`hostmend diagnose --profile NAME`" + ` asks one. Without it
the state of the host chooses: rescue, starting, impaired, or default, which all hold everything and differ in what comes first. The
dms-… are the sets that Alibaba Cloud ECS has built in, by their names; those about bills, quotas or audits hold nothing that can be
seen from inside a host, and say so.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeProfiles,
		RunE: func(_ *cobra.Command, names []string) error {
			profiles, err := builtinProfiles()
			if err != nil {
				return err
			}
			l, err := p.loadLibrary()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				return report.ListProfiles(p.Stdout, p.page(), profiles, l)
			}
			profile, err := profiles.Get(names[0])
			if err != nil {
				return err
			}
			covers, err := builtinCovers()
			if err != nil {
				return err
			}
			return report.DescribeProfile(p.Stdout, p.page(), profile, l, covers)
		},
	}
}

func playbookSchema(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of playbooks, for editors", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.Stdout.Write(playbooks.Schema())
			return err
		},
	}
}

func playbookNew(p *program) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:     "new ID",
		Short:   "Write the beginnings of a playbook and its story",
		Example: "  hostmend playbook new swap-nearly-full --dir playbooks/library",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			id := args[0]
			if !idPattern.MatchString(id) {
				return fmt.Errorf("%q is no id: small letters, digits and hyphens, like swap-nearly-full", id)
			}
			name := filepath.Join(dir, id)
			playbook, story := playbooks.Skeleton(id)
			if err := createFile(name+".yaml", playbook); err != nil {
				return err
			}
			if err := createFile(name+".txtar", story); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.Stdout, "wrote %s.yaml and %[1]s.txtar; fill in what is in capitals, then:\n  hostmend playbook lint %[1]s.yaml\n  hostmend playbook test %[1]s.yaml\n", name)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "where to write them")
	return c
}

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// createFile writes a new file; it never overwrites one.
func createFile(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("writing a new playbook: %w", err)
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
