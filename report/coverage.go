package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/playbooks"
)

// Answered are the ids of the playbooks that cover each name.
func Answered(list []playbooks.Playbook) map[string][]string {
	by := map[string][]string{}
	for _, p := range list {
		for _, c := range p.Covers {
			by[c] = append(by[c], p.ID)
		}
	}
	return by
}

// Coverage writes the page that says of every name that others give to a trouble which playbooks answer it, or why none does.
// lived are the playbooks with a story from life; unlived says of others why they can have none.
func Coverage(w io.Writer, covers *playbooks.Covers, list []playbooks.Playbook, lived []string, unlived map[string]string) error {
	by := Answered(list)
	var b strings.Builder
	b.WriteString("# Coverage\n\nWhat others call the troubles that a host may have, and the playbooks that find them here. Written by `make docs` from " +
		"`playbooks/library/covers` and the playbooks' `covers`; a test fails when a name loses its last playbook.\n\n")
	b.WriteString("| Source | Names | Answered | Left out, and why | Open |\n|---|---|---|---|---|\n")
	var all tally
	for _, s := range covers.Sources {
		t := count(s, by)
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", s.System, s.System, t)
		all.add(t)
	}
	fmt.Fprintf(&b, "| all | %s |\n", all)
	if all.open > 0 {
		fmt.Fprintf(&b, "\nOpen (%d): nothing answers these yet.\n\n", all.open)
		for _, c := range covers.All() {
			if len(by[c.Name]) == 0 && c.Not == "" {
				fmt.Fprintf(&b, "- `%s` %s\n", c.Name, c.What)
			}
		}
	}
	for _, s := range covers.Sources {
		source(&b, s, by)
	}
	life(&b, list, lived, unlived)
	_, err := io.WriteString(w, b.String())
	return err
}

// life says which playbooks have met their trouble on a real host, and why others have not and are only proved by hand-made facts.
func life(b *strings.Builder, list []playbooks.Playbook, lived []string, unlived map[string]string) {
	var not []string
	for _, p := range list {
		if !slices.Contains(lived, p.ID) {
			not = append(not, fmt.Sprintf("- [%s](playbooks.md#%[1]s): %s\n", p.ID, cmp.Or(unlived[p.ID], "none yet")))
		}
	}
	fmt.Fprintf(b, "\n## Stories from life\n\nEvery playbook has a hand-made story with near misses. %d of %d have one that was captured on a real host too "+
		"(`playbooks/library/life`).\n", len(list)-len(not), len(list))
	if len(not) > 0 {
		fmt.Fprintf(b, "\nWithout one, and why:\n\n%s", strings.Join(not, ""))
	}
}

// tally counts names by what became of them.
type tally struct{ names, answered, not, open int }

func (t *tally) add(o tally) {
	t.names, t.answered, t.not, t.open = t.names+o.names, t.answered+o.answered, t.not+o.not, t.open+o.open
}

func (t tally) String() string {
	return fmt.Sprintf("%d | %d | %d | %d", t.names, t.answered, t.not, t.open)
}

func count(s playbooks.CoverSource, by map[string][]string) tally {
	t := tally{names: len(s.Names)}
	for _, c := range s.Names {
		switch {
		case len(by[c.Name]) > 0:
			t.answered++
		case c.Not != "":
			t.not++
		default:
			t.open++
		}
	}
	return t
}

func source(b *strings.Builder, s playbooks.CoverSource, by map[string][]string) {
	fmt.Fprintf(b, "\n## %s\n\n%s", s.System, s.About)
	if s.See != "" {
		fmt.Fprintf(b, " <%s>", s.See)
	}
	b.WriteString("\n\n| Name | What it is | Playbooks |\n|---|---|---|\n")
	for _, c := range s.Names {
		what := c.What
		if c.See != "" {
			what += " <" + c.See + ">"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", strings.TrimPrefix(c.Name, s.System+"/"), cell(what), cell(answer(c, by[c.Name])))
	}
}

// answer is what finds a trouble: the playbooks, or why there is none.
func answer(c playbooks.Cover, ids []string) string {
	switch {
	case len(ids) > 0:
		links := make([]string, len(ids))
		for i, id := range ids {
			links[i] = fmt.Sprintf("[%s](playbooks.md#%s)", id, id)
		}
		return strings.Join(links, ", ")
	case c.Not != "":
		return "none: " + c.Not
	}
	return "none yet"
}
