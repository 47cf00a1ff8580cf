package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/internal/host/hosttest"
)

func captureCommand(p *program) *cobra.Command {
	var offline bool
	c := &cobra.Command{
		Use:   "capture",
		Short: "Write all that the probes see of this host as a file, secrets removed",
		Long: `capture runs every probe and writes to standard output what the host answered, as a text file from which ` + "`hostmend replay`" + `
makes the same diagnosis on another machine. Passwords, their hashes, keys and tokens are removed before anything is written;
standard error says what was removed. Host names, addresses, accounts, file names and log lines stay: read it before you send it.`,
		Example: "  hostmend capture > case.txtar",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			clean := host.Redacted(p.local(offline))
			recorder := hosttest.Record(clean)
			s := p.look(c.Context(), recorder, nil)
			if err := c.Context().Err(); err != nil {
				return err
			}
			removed := removedWords(clean.Removed())
			comment := append([]string{fmt.Sprintf("What hostmend %s saw of %s.", version, s.Host)}, removed...)
			if _, err := p.Stdout.Write(recorder.Format(comment...)); err != nil {
				return fmt.Errorf("writing the capture: %w", err)
			}
			_, err := fmt.Fprintln(p.Stderr, strings.Join(removed, "\n"))
			return err
		},
	}
	c.Flags().BoolVar(&offline, "no-network", false, "send no packets")
	p.checksFlag(c)
	return c
}

// removedWords says what was removed from a capture: one line a kind of secret, with how often and where.
func removedWords(removed []host.Removal) []string {
	if len(removed) == 0 {
		return []string{"removed: nothing looked like a secret"}
	}
	var lines []string
	for len(removed) > 0 {
		what, times, places := removed[0].What, 0, []string(nil)
		for len(removed) > 0 && removed[0].What == what {
			times += removed[0].Times
			places = append(places, removed[0].Where)
			removed = removed[1:]
		}
		if len(places) > maxPlaces {
			places = append(places[:maxPlaces], fmt.Sprintf("%d more", len(places)-maxPlaces))
		}
		lines = append(lines, fmt.Sprintf("removed: %s, %d × in %s", what, times, strings.Join(places, ", ")))
	}
	return lines
}

// maxPlaces is how many places are named in which a kind of secret was found.
const maxPlaces = 5

func replayCommand(p *program) *cobra.Command {
	j := &judging{}
	c := &cobra.Command{
		Use:     "replay CASE.txtar",
		Short:   "Diagnose a captured host as if it were this one",
		Long:    "replay judges what `hostmend capture` wrote, on any machine. The file - is standard input.\n\nA file that is no capture, or only the beginning of one, is refused: what is missing in it would be taken for missing on the host.",
		Example: "  hostmend replay case.txtar\n  ssh db-1 sudo hostmend capture | hostmend replay -",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := p.open(args[0])
			if err != nil {
				return err
			}
			library, err := j.library(p)
			if err != nil {
				return err
			}
			r, err := p.examine(c.Context(), h, library, j)
			if err != nil {
				return err
			}
			return p.tell(r, j)
		},
	}
	j.flags(p, c)
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
	h, err := hosttest.Read(data)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return h, nil
}
