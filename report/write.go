package report

import (
	"fmt"
	"io"
)

// Formats are the forms in which a report can be written; the first is the default.
var Formats = []string{"text", "brief", "json", "yaml", "markdown", "html"}

// Write writes the report in one of the Formats. Forms for people get a copy in which nothing can act on their terminal or browser.
func (r *Report) Write(w io.Writer, format string, to Page) error {
	switch format {
	case "text":
		return writeText(w, r.cleaned(), to)
	case "brief":
		return writeBrief(w, r.cleaned(), to)
	case "json", "yaml":
		return WriteData(w, format, r)
	case "markdown":
		return writeMarkdown(w, r.cleaned(), to)
	case "html":
		return writeHTML(w, r.cleaned(), to)
	}
	return fmt.Errorf("there is no format %q", format)
}
