package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
)

func replayCommand(p *program) *cobra.Command {
	j := &judging{}
	c := &cobra.Command{
		Use:     "replay CASE.txtar",
		Short:   "Diagnose a captured host as if it were this one",
		Long:    "replay judges what `hostmend capture` wrote, on any machine. The file - is standard input.",
		Example: "  hostmend replay case.txtar\n  ssh db-1 sudo hostmend capture | hostmend replay -",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			library, err := j.library()
			if err != nil {
				return err
			}
			h, err := p.open(args[0])
			if err != nil {
				return err
			}
			r, err := p.examine(c.Context(), h, library)
			if err != nil {
				return err
			}
			return p.tell(r, j)
		},
	}
	j.flags(c)
	return c
}

// open reads a capture.
func (p *program) open(name string) (host.Host, error) {
	if name != "-" {
		return hosttest.Open(name)
	}
	data, err := io.ReadAll(p.Stdin)
	if err != nil {
		return nil, fmt.Errorf("reading the capture from standard input: %w", err)
	}
	h, err := hosttest.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return h, nil
}
