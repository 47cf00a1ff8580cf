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
	c.AddCommand(playbookLint(p), playbookTest(p), playbookExplain(p), playbookNew(p), playbookDocs(p))
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
	return &cobra.Command{
		Use:     "lint [FILE|DIR...]",
		Short:   "Check playbooks and say all that is wrong; without arguments, the built-in ones",
		Example: "  hostmend playbook lint swap.yaml\n  hostmend playbook lint playbooks/library",
		RunE: func(_ *cobra.Command, paths []string) error {
			l, err := loadLibrary(paths...)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.Stdout, "%s, no problems\n", counted(len(l.Playbooks()), "playbook"))
			return err
		},
	}
}

func playbookTest(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "test FILE|DIR...",
		Short:   "Play the stories of playbooks: NAME.txtar beside NAME.yaml",
		Example: "  hostmend playbook test swap.yaml\n  hostmend playbook test playbooks/library",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error {
			l, err := loadLibrary(paths...)
			if err != nil {
				return err
			}
			files, err := readPlaybooks(paths)
			if err != nil {
				return err
			}
			var failed []error
			for _, f := range files {
				if err := runStory(l, strings.TrimSuffix(f.Name, ".yaml")+".txtar"); err != nil {
					failed = append(failed, err)
				}
			}
			if len(failed) > 0 {
				return fmt.Errorf("%w\n%d of %s failed", errors.Join(failed...), len(failed), counted(len(files), "story"))
			}
			_, err = fmt.Fprintf(p.Stdout, "%s, all as told\n", counted(len(files), "story"))
			return err
		},
	}
}

func runStory(l *playbooks.Library, name string) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: the playbook has no story", name)
	}
	if err != nil {
		return fmt.Errorf("reading the story: %w", err)
	}
	return playbooks.RunStory(l, playbooks.File{Name: name, Data: data})
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
			library, err := j.library()
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
	j.libraryFlags(c)
	c.Flags().StringVar(&capture, "replay", "", "judge this capture instead of this host")
	c.Flags().BoolVar(&j.offline, "no-network", false, "send no packets; what needs them is not known")
	return c
}

func playbookDocs(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "docs [FILE|DIR...]", Short: "Print the reference of the playbooks, in Markdown",
		RunE: func(_ *cobra.Command, paths []string) error {
			l, err := loadLibrary(paths...)
			if err != nil {
				return err
			}
			return report.PlaybookReference(p.Stdout, l.Playbooks())
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
			for _, f := range []struct{ ext, text string }{{".yaml", newPlaybook}, {".txtar", newStory}} {
				if err := createFile(filepath.Join(dir, id+f.ext), strings.ReplaceAll(f.text, "ID", id)); err != nil {
					return err
				}
			}
			name := filepath.Join(dir, id)
			_, err := fmt.Fprintf(p.Stdout, "wrote %s.yaml and %[1]s.txtar; change them, then:\n  hostmend playbook lint %[1]s.yaml\n  hostmend playbook test %[1]s.yaml\n", name)
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "where to write them")
	return c
}

var idPattern = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// createFile writes a new file; it never overwrites one.
func createFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("writing a new playbook: %w", err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// The beginnings of a playbook pass lint and test as they are, so that every change can be tried at once.
const newPlaybook = `id: ID
title: {en: More tasks want to run than there are CPUs, zh: 等待运行的任务多于 CPU 数}   # the trouble, as a person says it; no period
area: compute          # compute, memory, storage, network, access, time, services, kernel
severity: warning      # critical, warning or info: how bad it is for those who use the host
covers: [doc/ID]       # what other systems and documents call it
params:
  high:
    default: 4
    min: 1
    max: 100
    why: runnable tasks for each CPU; say where the number comes from
when: load.per_cpu5 >= params.high   # hostmend probe docs lists the facts
evidence:
  - en: "load {load.load5} over five minutes, {load.per_cpu5} for each CPU"
    zh: "五分钟负载 {load.load5}，每个 CPU {load.per_cpu5}"
reading: {en: "{load.per_cpu5} for each CPU", zh: "每个 CPU {load.per_cpu5}"}   # what a healthy host's report shows
manual:                # or fix: with steps; hostmend playbook docs shows how others do it
  en: "See what runs: top -o %CPU. Stop what should not, or choose a machine with more CPUs."
  zh: "用 top -o %CPU 查看正在运行的程序，停掉不该运行的，或换用 CPU 更多的机器。"
see:
  - https://docs.kernel.org/filesystems/proc.html
`

const newStory = `What happened, and where these facts come from.
-- facts --
load: {load1: 17.5, load5: 16.4, load15: 9.1, per_cpu1: 8.75, per_cpu5: 8.2, per_cpu15: 4.55}
-- yes: the host as it was --
find:
  severity: warning
  evidence: load 16.4 over five minutes
-- no: a busy batch job that leaves room --
load.per_cpu5: 3.9
-- unknown: it cannot be read --
load: failed, permission denied
`
