package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/checks"
	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// checksDir is where an operator's checks lie unless --checks says otherwise.
const checksDir = "/etc/hostmend/checks.d"

// checksFlag adds --checks, and loads what it names before the command begins.
func (p *program) checksFlag(c *cobra.Command) {
	var paths []string
	c.Flags().StringArrayVar(&paths, "checks", nil, "site checks in this directory or file (default "+checksDir+" if it exists)")
	c.PreRunE = chain(c.PreRunE, func(*cobra.Command, []string) error {
		if len(paths) == 0 {
			p.installedChecks(checksDir)
			return nil
		}
		files, err := readFiles(paths)
		if err != nil {
			return err
		}
		p.checks, err = checks.Load(files)
		return err
	})
}

// installedChecks loads this host's own checks. One that is wrong must not keep anybody from a diagnosis: it is named and left out. As
// sudo does with its files, what somebody else than root may write is not used.
func (p *program) installedChecks(dir string) {
	if p.Host != nil { // a machine that stands in for this one
		return
	}
	names, err := yamlFiles(dir)
	if err != nil {
		return // there are none
	}
	var files []playbooks.File
	for _, name := range names {
		data, err := host.ReadTrusted(name)
		if err != nil {
			fmt.Fprintln(p.Stderr, "hostmend: left out: "+err.Error())
			continue
		}
		files = append(files, playbooks.File{Name: name, Data: data})
	}
	if p.checks, err = checks.Load(files); err != nil {
		fmt.Fprintln(p.Stderr, "hostmend: left out:\n"+err.Error())
	}
}

// hostProbes are the built-in probes and the site checks that were loaded.
func (p *program) hostProbes() []probes.Probe[host.Host] {
	return slices.Concat(hostProbes(), p.checks.Probes())
}

func checkCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use: "check", Short: "Write and check site checks: an operator's own read-only questions", Args: cobra.NoArgs, RunE: needsCommand,
		Long: `A site check is a question that an operator declares for his own hosts, in a file: http, tcp, dns, file, unit, certificate, command or
prometheus. Its facts are site.NAME in playbooks. Files lie in ` + checksDir + `, or where --checks says.`,
	}
	c.AddCommand(checkLint(p), checkRun(p), checkNew(p), checkDocs(p), checkSchema(p))
	return c
}

func checkLint(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "lint FILE|DIR...",
		Short:   "Check files of site checks, or a host's commands.yaml, and say all that is wrong",
		Example: "  hostmend check lint shop.yaml\n  hostmend check lint /etc/hostmend/checks.d /etc/hostmend/commands.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error {
			var files []string
			for _, name := range paths {
				if filepath.Base(name) != "commands.yaml" {
					files = append(files, name)
				} else if err := lintCommands(name); err != nil {
					return err
				}
			}
			var set *checks.Set
			if len(files) > 0 {
				data, err := readFiles(files)
				if err != nil {
					return err
				}
				if set, err = checks.Load(data); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintf(p.Stdout, "%s, no problems\n", counted(set.Len(), "check"))
			return err
		},
	}
}

func lintCommands(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if _, err := host.ParseCommands(data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func checkRun(p *program) *cobra.Command {
	var output string
	var offline bool
	c := &cobra.Command{
		Use:     "run FILE|DIR [NAME]",
		Short:   "Ask now what a file's checks ask, or the one of that name, and print the facts",
		Example: "  hostmend check run shop.yaml\n  hostmend check run /etc/hostmend/checks.d shop -o json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			files, err := readFiles(args[:1])
			if err != nil {
				return err
			}
			if p.checks, err = checks.Load(files); err != nil {
				return err
			}
			names := probeNames(probes.Describe(p.checks.Probes()))
			if len(names) == 0 {
				return fmt.Errorf("there is no check in %s", args[0])
			}
			if len(args) > 1 {
				name := probes.Site + "." + strings.TrimPrefix(args[1], probes.Site+".")
				if !slices.Contains(names, name) {
					return fmt.Errorf("there is no check %q in %s%s", name, args[0], didYouMean(name, names))
				}
				names = []string{name}
			}
			return p.facts(c.Context(), names, output, offline, false)
		},
	}
	outputFlag(c, &output, "text", "json", "yaml")
	c.Flags().BoolVar(&offline, "no-network", false, "send no packets")
	return c
}

func checkNew(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:       "new NAME KIND",
		Short:     "Write the beginnings of a site check to NAME.yaml; kinds: " + strings.Join(checks.Kinds(), ", "),
		Example:   "  hostmend check new shop http",
		Args:      cobra.ExactArgs(2),
		ValidArgs: toCompletions(checks.Kinds()),
		RunE: func(_ *cobra.Command, args []string) error {
			text := checks.Skeleton(args[0], args[1])
			if text == nil {
				return fmt.Errorf("there is no kind %q; there are %s", args[1], strings.Join(checks.Kinds(), ", "))
			}
			file := args[0] + ".yaml"
			if _, err := checks.Load([]playbooks.File{{Name: file, Data: text}}); err != nil {
				return err
			}
			if err := createFile(file, text); err != nil {
				return err
			}
			_, err := fmt.Fprintf(p.Stdout, "wrote %s; change it to what you want to know, then:\n  hostmend check lint %[1]s\n  hostmend check run %[1]s\n", file)
			return err
		},
	}
	return c
}

func checkDocs(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Print the reference of site checks, in Markdown", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.Stdout.Write(checks.Reference())
			return err
		},
	}
}

func checkSchema(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of site checks, for editors", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.Stdout.Write(checks.Schema())
			return err
		},
	}
}
