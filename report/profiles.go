package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/hostmend/hostmend/playbooks"
)

// ListProfiles prints one line a profile.
func ListProfiles(w io.Writer, to Page, profiles playbooks.Profiles, l *playbooks.Library) error {
	p := newPage(w, to)
	widest := 0
	for _, f := range profiles {
		widest = max(widest, columns(f.Name))
	}
	for _, f := range profiles {
		p.block(pad(f.Name, widest)+"  ", bold, fmt.Sprintf("%s (%s)", f.Title.In(p.Lang), contents(f, l, p.words())), "")
	}
	return p.err
}

// contents says how much a profile holds.
func contents(f *playbooks.Profile, l *playbooks.Library, t *vocabulary) string {
	n := len(f.Of(l).Playbooks())
	switch {
	case n == 0:
		return t.unseen
	case f.When != "":
		return fmt.Sprintf(t.chosenWhen, counted(n, t.playbooks), f.When)
	}
	return counted(n, t.playbooks)
}

// DescribeProfile tells what a profile asks for, and what answers it.
func DescribeProfile(w io.Writer, to Page, f *playbooks.Profile, l *playbooks.Library, covers *playbooks.Covers) error {
	p := newPage(w, to)
	p.block(f.Name+"  ", bold, f.Title.In(p.Lang), "")
	p.optional("  state      ", f.When)
	p.optional("  first      ", strings.Join(f.First, ", "))
	p.optional("  put off    ", strings.Join(f.Waits, ", "))
	p.optional("  asks for   ", strings.Join(f.Covers, ", "))
	p.optional("  playbooks  ", strings.Join(ids(f.Of(l).Playbooks()), ", "))
	if len(f.Covers) > 0 {
		for _, c := range f.Unseen(covers) {
			p.block("  not seen   ", "", clean(c.Name+": "+c.Not), dim)
		}
	}
	return p.err
}

func ids(list []playbooks.Playbook) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = b.ID
	}
	return out
}

// ProfileReference writes the page of profiles in Markdown.
func ProfileReference(w io.Writer, profiles playbooks.Profiles, l *playbooks.Library, covers *playbooks.Covers) error {
	var b strings.Builder
	b.WriteString("# Profiles\n\nWritten by `make docs` from `playbooks/library/profiles`. A profile is a question that a host is asked: " +
		"`hostmend diagnose --profile NAME`. Without one the state of the host chooses, [as this says](adr/0009-profiles-by-state.md); " +
		"the report tells which and why. The `dms-…` are the sets that Alibaba Cloud ECS has built in, with their members.\n")
	b.WriteString("\n| Name | Title | Chosen when | Playbooks |\n|---|---|---|---|\n")
	for _, f := range profiles {
		when := ""
		if f.When != "" {
			when = tableCode(f.When)
		}
		n := fmt.Sprint(len(f.Of(l).Playbooks()))
		if n == "0" {
			n = "none can see it"
		}
		fmt.Fprintf(&b, "| [`%s`](#%[1]s) | %s · %s | %s | %s |\n", f.Name, cell(f.Title.EN), cell(f.Title.ZH), when, n)
	}
	for _, f := range profiles {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", f.Name, f.Title.EN)
		item := func(label string, names []string) {
			if len(names) > 0 {
				fmt.Fprintf(&b, "\n%s: `%s`.\n", label, strings.Join(names, "`, `"))
			}
		}
		item("Comes first", f.First)
		item("Put off in this state", f.Waits)
		item("Asks for", f.Covers)
		if of := f.Of(l); len(f.Covers) > 0 && len(of.Playbooks()) > 0 {
			links := ids(of.Playbooks())
			for i, id := range links {
				links[i] = fmt.Sprintf("[%s](playbooks.md#%s)", id, id)
			}
			fmt.Fprintf(&b, "\nPlaybooks: %s.\n", strings.Join(links, ", "))
		}
		if len(f.Covers) == 0 {
			continue
		}
		unseen := f.Unseen(covers)
		for i, c := range unseen {
			if i == 0 {
				b.WriteString("\nNot to be seen from inside a host:\n\n")
			}
			fmt.Fprintf(&b, "- `%s`: %s\n", c.Name, c.Not)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
