package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
)

// latencyWords are what the latency report says itself.
type latencyWords struct {
	targets, rounds                                          [2]string // one, several
	summary, target, sent, loss, never, lost, legend, column string
}

var latencyVocabulary = map[string]latencyWords{
	"en": {
		targets: [2]string{"1 target", "%d targets"}, rounds: [2]string{"1 round", "%d rounds"},
		summary: "%s, %s in %s", target: "target", sent: "sent", loss: "loss", never: "no answer", lost: "lost",
		legend: "latency on a scale of powers", column: "a column is %s",
	},
	"zh": {
		targets: [2]string{"1 个目标", "%d 个目标"}, rounds: [2]string{"1 轮", "%d 轮"},
		summary: "%s，%s，历时 %s", target: "目标", sent: "发送", loss: "丢包", never: "无应答", lost: "丢包",
		legend: "延迟按对数刻度", column: "每列 %s",
	},
}

func latencyWordsOf(lang string) latencyWords {
	if w, ok := latencyVocabulary[lang]; ok {
		return w
	}
	return latencyVocabulary["en"]
}

// fullMaps is up to how many targets get a map of latency by time; more get a line each.
const fullMaps = 3

func (l *Latency) writeText(w io.Writer, to Page) error {
	p := newPage(w, to)
	t := latencyWordsOf(p.Lang)
	p.line(l.summary(t))
	p.line("")
	width := columns(t.target)
	for i := range l.Targets {
		width = max(width, columns(clean(l.Targets[i].label())))
	}
	width = min(width, 40)
	p.line(p.style(dim, pad(t.target, width)+fmt.Sprintf(" %6s %7s %8s %8s %8s %8s %8s", t.sent, t.loss, "p50", "p90", "p99", "max", "jitter")))
	for i := range l.Targets {
		p.latencyRow(&l.Targets[i], width, t)
	}
	lowest, highest := l.levels()
	if lowest > highest {
		return p.err
	}
	p.line("")
	if len(l.Targets) <= fullMaps {
		for i := range l.Targets {
			p.heatMap(&l.Targets[i], lowest, highest, t)
		}
	} else {
		for i := range l.Targets {
			p.heatStrip(&l.Targets[i], width, lowest, highest)
		}
	}
	p.line(p.style(dim, fmt.Sprintf(t.column+"; %s; %s: %s", time.Duration(l.span)*l.Interval, t.legend, p.mark("×", "x"), t.lost)))
	return p.err
}

// label is a target's name with its role, and its address where the name is not that.
func (t *LatencyTarget) label() string {
	label := t.Name
	if t.Name != t.Address {
		label += " (" + t.Address + ")"
	}
	if t.Role != "" {
		label += " " + t.Role
	}
	return label
}

// summary says how many targets were pinged, and how long.
func (l *Latency) summary(t latencyWords) string {
	return fmt.Sprintf(t.summary, counted(len(l.Targets), t.targets), counted(l.Rounds, t.rounds), l.last.Sub(l.At).Round(100*time.Millisecond))
}

// writeBrief writes one line a target: its name and a table's cells as KEY=VALUE, or what kept it from answering.
func (l *Latency) writeBrief(w io.Writer, to Page) error {
	t := latencyWordsOf(to.Lang)
	var b strings.Builder
	for i := range l.Targets {
		x := &l.Targets[i]
		fmt.Fprintf(&b, "%s sent=%d loss=%.2f%%", clean(x.label()), x.Sent, x.LossPct)
		if x.P50MS == nil {
			b.WriteString(" (" + clean(cmp.Or(x.Error, t.never)) + ")\n")
			continue
		}
		fmt.Fprintf(&b, " p50=%s p90=%s p99=%s max=%s jitter=%s\n", shortMS(x.P50MS), shortMS(x.P90MS), shortMS(x.P99MS), shortMS(x.MaxMS), shortMS(x.JitterMS))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *page) latencyRow(t *LatencyTarget, width int, w latencyWords) {
	loss := fmt.Sprintf("%6.2f%%", t.LossPct)
	if t.Lost > 0 {
		loss = p.style(red, loss)
	}
	row := fit(clean(t.label()), width) + fmt.Sprintf(" %6d %s", t.Sent, loss)
	if t.P50MS == nil {
		why := w.never
		if t.Error != "" {
			why = clean(t.Error)
		}
		p.line(row + "  " + p.style(red, why))
		return
	}
	for _, ms := range []*float64{t.P50MS, t.P90MS, t.P99MS, t.MaxMS, t.JitterMS} {
		row += " " + fmt.Sprintf("%8s", shortMS(ms))
	}
	p.line(row)
}

// shortMS is a time in at most 8 columns.
func shortMS(ms *float64) string {
	switch {
	case ms == nil:
		return "-"
	case *ms < 1:
		return fmt.Sprintf("%.0fµs", *ms*1000)
	case *ms < 100:
		return fmt.Sprintf("%.2fms", *ms)
	case *ms < 10000:
		return fmt.Sprintf("%.0fms", *ms)
	default:
		return fmt.Sprintf("%.1fs", *ms/1000)
	}
}

// fit is a text of exactly n columns.
func fit(s string, n int) string {
	s, _ = cutColumns(s, n)
	return pad(s, n)
}

// levels is the range of heat levels that any target had.
func (l *Latency) levels() (lowest, highest int) {
	lowest, highest = heatLevels, -1
	for i := range l.Targets {
		for j := range l.Targets[i].Heat {
			c := &l.Targets[i].Heat[j]
			for k, n := range c.Levels {
				if n > 0 {
					lowest, highest = min(lowest, k), max(highest, k)
				}
			}
			if c.Lost > 0 && highest < 0 { // something is to be drawn
				lowest, highest = 0, 0
			}
		}
	}
	return lowest, highest
}

// recent is as many of a target's latest columns as fit.
func (t *LatencyTarget) recent(width int) []HeatColumn {
	return t.Heat[max(0, len(t.Heat)-max(width, 1)):]
}

// heatMap draws latency upwards, time to the right, and answers as shades; what was lost is marked on top.
func (p *page) heatMap(t *LatencyTarget, lowest, highest int, w latencyWords) {
	const axis = 9
	heat := t.recent(p.Width - axis)
	p.line(p.style(bold, clean(t.label())))
	most, lost := uint32(1), false
	for i := range heat {
		lost = lost || heat[i].Lost > 0
		for _, n := range heat[i].Levels {
			most = max(most, n)
		}
	}
	if lost {
		var b strings.Builder
		for i := range heat {
			b.WriteString(map[bool]string{true: p.mark("×", "x"), false: " "}[heat[i].Lost > 0])
		}
		p.line(pad(w.lost, axis) + p.style(red, b.String()))
	}
	if t.answers == 0 {
		lowest = highest + 1 // rows of nothing would only push the others away
	}
	for level := highest; level >= lowest; level-- {
		ms := float64(HeatBound(level)) / 1e6
		var b strings.Builder
		for i := range heat {
			b.WriteString(p.shade(heat[i].Levels[level], most, level))
		}
		p.line(p.style(dim, fmt.Sprintf("%8s ", shortMS(&ms))) + b.String())
	}
	p.line("")
}

// shade is a cell of n answers where most is the largest number of any cell.
func (p *page) shade(n, most uint32, level int) string {
	shades := []string{"░", "▒", "▓", "█"}
	if p.ASCII {
		shades = []string{".", ":", "*", "#"}
	}
	if n == 0 {
		return " "
	}
	return p.heat(level, shades[(int(n)*len(shades)-1)/int(most)])
}

// heat colours a cell by its latency: from green, below 1 ms, over yellow to red, above 250 ms.
func (p *page) heat(level int, s string) string {
	switch d := HeatBound(level); {
	case d <= time.Millisecond:
		return p.style(green, s)
	case d <= 30*time.Millisecond:
		return p.style("32;1", s)
	case d <= 250*time.Millisecond:
		return p.style(yellow, s)
	default:
		return p.style(red, s)
	}
}

// heatStrip draws one line: the height of a cell is the slowest answer of its time.
func (p *page) heatStrip(t *LatencyTarget, width, lowest, highest int) {
	blocks := []string{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}
	if p.ASCII {
		blocks = []string{".", ":", "-", "=", "+", "*", "%", "#"}
	}
	var b strings.Builder
	for _, c := range t.recent(p.Width - width - 1) {
		switch {
		case c.Lost > 0:
			b.WriteString(p.style(red, p.mark("×", "x")))
		case c.max == 0:
			b.WriteString(" ")
		default:
			level := heatLevel(c.max)
			b.WriteString(p.heat(level, blocks[(level-lowest)*(len(blocks)-1)/max(highest-lowest, 1)]))
		}
	}
	p.line(fit(clean(t.label()), width) + " " + b.String())
}
