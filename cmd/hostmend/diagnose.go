package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/report"
)

// judging are the flags of the commands that make a diagnosis.
type judging struct {
	profile  string
	paths    []string
	added    []string
	only     []string
	overlays []string
	labels   []string
	failOn   string
	output   string
	timeout  time.Duration
	changes  time.Duration
	offline  bool
}

// failOn are the severities in the order of playbooks.Severity.
var failOn = []string{"info", "warning", "critical"}

func (j *judging) flags(p *program, c *cobra.Command) {
	outputFlag(c, &j.output, report.Formats...)
	j.libraryFlags(p, c)
	f := c.Flags()
	f.StringVar(&j.profile, "profile", "", "judge what this profile asks for; without it the host's state chooses one (see hostmend playbook profiles)")
	f.StringSliceVar(&j.only, "only", nil, "judge only these playbooks, by id")
	f.DurationVar(&j.changes, "changes", 24*time.Hour, "list beside each finding what was changed in this time before it; 0: do not")
	f.StringVar(&j.failOn, "fail-on", "info", "exit with 1 for findings of this severity or worse: "+strings.Join(failOn, ", "))
	_ = c.RegisterFlagCompletionFunc("profile", completeProfiles)
	complete(c, "fail-on", failOn...)
	complete(c, "only", libraryIDs()...)
	c.PreRunE = chain(c.PreRunE, func(*cobra.Command, []string) error { return j.check() })
}

// libraryFlags are the flags that say what to judge by.
func (j *judging) libraryFlags(p *program, c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&j.paths, "playbooks", nil, "judge by the playbooks in this directory or file instead of the built-in ones")
	f.StringArrayVar(&j.added, "add-playbooks", nil, "judge by the playbooks in this directory or file too; one of the same id takes the other's place")
	p.checksFlag(c)
	f.StringArrayVar(&j.overlays, "overlay", nil, "file that changes parameters or severities; of several the later wins")
	f.StringArrayVar(&j.labels, "label", nil, "label of this host, KEY=VALUE, by which overlays match it")
}

// check refuses flags before anything is looked at.
func (j *judging) check() error {
	if j.profile != "" {
		profiles, err := builtinProfiles()
		if err != nil {
			return err
		}
		if _, err := profiles.Get(j.profile); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	if !slices.Contains(failOn, j.failOn) {
		return fmt.Errorf("--fail-on %s: the severities are %s", j.failOn, strings.Join(failOn, ", "))
	}
	_, err := parseLabels(j.labels)
	return err
}

func diagnoseCommand(p *program) *cobra.Command {
	j := &judging{}
	c := &cobra.Command{
		Use:   "diagnose",
		Short: "Say what is wrong with this host",
		Long: `diagnose runs the probes, judges what they saw by the playbooks, and reports what is wrong, how bad it is, the values that prove
it and what would mend it. It takes about a second, for rates need two samples, and changes nothing.

Exit status: 0 nothing found at or above --fail-on, 1 something found, 2 hostmend itself failed, 4 nothing found but not everything
could be checked, or nothing applies here.`,
		Example: `  hostmend diagnose
  hostmend diagnose -o json --fail-on warning
  hostmend diagnose --only filesystem-full,inodes-full -o brief`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			library, err := j.library(p)
			if err != nil {
				return err
			}
			if j.timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, j.timeout)
				defer cancel()
			}
			r, err := p.examine(ctx, p.local(j.offline), library, j)
			if err != nil {
				return err
			}
			return p.tell(r, j)
		},
	}
	j.flags(p, c)
	c.Flags().BoolVar(&j.offline, "no-network", false, "send no packets; what needs them is not checked")
	c.Flags().DurationVar(&j.timeout, "timeout", 30*time.Second, "report what is known after this time; 0: no limit")
	return c
}

// tell writes the report and turns it into an exit code.
func (p *program) tell(r *report.Report, j *judging) error {
	if err := r.Write(p.Stdout, j.output, p.page()); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	switch severity := playbooks.Severity(slices.Index(failOn, j.failOn) + 1); {
	case r.AtLeast(severity) > 0:
		return exitCode(exitFound)
	case len(r.Unchecked()) > 0 || r.Judged == 0:
		return exitCode(exitUnchecked)
	}
	return nil
}

// library loads the playbooks that the flags ask for.
func (j *judging) library(p *program) (*playbooks.Library, error) {
	labels, err := parseLabels(j.labels)
	if err != nil {
		return nil, err
	}
	l, err := p.loadBeside(j.paths, j.added)
	if err != nil {
		return nil, err
	}
	var overlays []playbooks.Overlay
	for _, name := range j.overlays {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		o, err := playbooks.ParseOverlay(playbooks.File{Name: name, Data: data})
		if err != nil {
			return nil, err
		}
		overlays = append(overlays, o)
	}
	if len(overlays) > 0 {
		if l, err = l.With(overlays, labels); err != nil {
			return nil, err
		}
	}
	if len(j.only) > 0 {
		return l.Only(j.only...)
	}
	return l, nil
}

// byState reports whether the state of the host chooses the profile: nobody asked for one, nor for playbooks by name or of his own.
func (j *judging) byState() bool { return j.profile == "" && len(j.only) == 0 && len(j.paths) == 0 }

// profiles are those that the host's state chooses from, or the one that was asked for.
func (j *judging) profiles() (states playbooks.Profiles, asked playbooks.Choice, err error) {
	if j.byState() {
		states, err = stateProfiles()
		return states, asked, err
	}
	if j.profile == "" {
		return nil, asked, nil
	}
	all, err := builtinProfiles()
	if err != nil {
		return nil, asked, err
	}
	asked.Profile, err = all.Get(j.profile)
	return nil, asked, err
}

// parseLabels reads KEY=VALUE pairs.
func parseLabels(given []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, l := range given {
		key, value, ok := strings.Cut(l, "=")
		if !ok || key == "" || value == "" {
			return nil, fmt.Errorf("--label %q is not KEY=VALUE", l)
		}
		if _, again := labels[key]; again {
			return nil, fmt.Errorf("--label %s is given twice", key)
		}
		labels[key] = value
	}
	return labels, nil
}
