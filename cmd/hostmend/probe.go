package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/probes"
	"github.com/hostmend/hostmend/report"
)

func factsCommand(p *program) *cobra.Command {
	var output string
	var offline bool
	c := &cobra.Command{
		Use:               "facts [PROBE...]",
		Short:             "Print what the probes see on this host",
		Example:           "  hostmend facts\n  hostmend facts memory load -o json",
		ValidArgsFunction: completeProbes,
		RunE: func(c *cobra.Command, names []string) error {
			return p.facts(c.Context(), names, output, offline, false)
		},
	}
	outputFlag(c, &output, "text", "json", "yaml")
	c.Flags().BoolVar(&offline, "no-network", false, "send no packets")
	p.checksFlag(c)
	return c
}

func probeCommand(p *program) *cobra.Command {
	var output string
	var offline bool
	c := &cobra.Command{
		Use:   "probe [NAME]",
		Short: "Run one probe and explain its facts; without a name, list the probes",
		Example: `  hostmend probe memory
  hostmend probe docs > probes.md`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeProbes,
		RunE: func(c *cobra.Command, names []string) error {
			if len(names) == 0 {
				return report.ListProbes(p.Stdout, p.page(), probes.Describe(p.hostProbes()))
			}
			return p.facts(c.Context(), names, output, offline, true)
		},
	}
	outputFlag(c, &output, "text", "json", "yaml")
	c.Flags().BoolVar(&offline, "no-network", false, "send no packets")
	p.checksFlag(c)
	c.AddCommand(&cobra.Command{
		Use: "docs", Short: "Print the reference of all probes and facts, in Markdown", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return report.ProbeReference(p.Stdout, probes.Describe(hostProbes()))
		},
	})
	return c
}

// facts runs probes and prints what they saw.
func (p *program) facts(ctx context.Context, names []string, output string, offline, docs bool) error {
	infos := probes.Describe(p.hostProbes())
	var want probes.Want
	for _, name := range names {
		if !slices.ContainsFunc(infos, func(i probes.Info) bool { return i.Name == name }) {
			return fmt.Errorf("there is no probe %q%s", name, didYouMean(name, probeNames(infos)))
		}
		if want == nil {
			want = probes.Want{}
		}
		want[name] = nil
	}
	seen := &report.Observed{Snapshot: p.look(ctx, p.local(offline), want), Probes: infos}
	if err := ctx.Err(); err != nil {
		return err
	}
	if output == "text" {
		return seen.WriteText(p.Stdout, p.page(), docs)
	}
	return report.WriteData(p.Stdout, output, seen)
}

func probeNames(infos []probes.Info) []string {
	var names []string
	for _, i := range infos {
		names = append(names, i.Name)
	}
	return names
}

func completeProbes(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var out []cobra.Completion
	for _, i := range probes.Describe(hostProbes()) {
		if !slices.Contains(given, i.Name) {
			out = append(out, cobra.CompletionWithDesc(i.Name, i.Title()))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// didYouMean is a question about the nearest of names, if one is near: at most a third of its letters are wrong.
func didYouMean(name string, names []string) string {
	best, distance := "", 0
	for _, n := range names {
		if d := editDistance(name, n); best == "" || d < distance {
			best, distance = n, d
		}
	}
	if best == "" || distance > max(1, len(best)/3) {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			corner, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, corner+cost)
		}
	}
	return row[len(b)]
}
