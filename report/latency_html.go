package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed latency.html
var latencyHTML string

// latencyCSS is added to the style of reports.
const latencyCSS = `
body { max-width: 80rem }
td, th { white-space: nowrap }
svg { display: block; width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: .3rem }
svg text { font: 9px system-ui, sans-serif; fill: var(--faint) }
.fast { fill: #16a34a } .fair { fill: #84a30b } .slow { fill: #e08a00 } .bad { fill: #dc2626 } .lost { fill: var(--critical) }
td.lossy { color: var(--critical); font-weight: 600 }
`

// latencyMap is a heat map as rectangles, in units of the drawing.
type latencyMap struct {
	Label         string
	Width, Height int
	Cells         []latencyCell
	Marks         []latencyMark
}

type latencyCell struct {
	X, Y, W, H int
	Class      string
	Opacity    string
	Title      string
}

type latencyMark struct {
	Y    int
	Text string
}

// manyMaps is above how many targets a map has one row, of its slowest answers: 36 rows of a thousand targets would be a page that no
// browser scrolls.
const manyMaps = 24

func (l *Latency) writeHTML(w io.Writer, to Page) error {
	t := latencyWordsOf(to.Lang)
	lowest, highest := l.levels()
	maps := make([]latencyMap, 0, len(l.Targets))
	for i := range l.Targets {
		maps = append(maps, l.drawing(&l.Targets[i], lowest, highest, len(l.Targets) > manyMaps))
	}
	page, err := template.New("latency").Funcs(template.FuncMap{"ms": shortMS}).Parse(latencyHTML)
	if err != nil {
		return err
	}
	style := pageCSS + latencyCSS
	sum := sha256.Sum256([]byte(style))
	return page.Execute(w, map[string]any{
		"Lang": to.Lang, "Style": template.CSS(style), "StyleHash": base64.StdEncoding.EncodeToString(sum[:]),
		"Summary": l.summary(t),
		"At":      l.At.Format("2006-01-02 15:04:05 MST"), "Words": map[string]string{"target": t.target, "sent": t.sent, "loss": t.loss, "never": t.never},
		"Column": fmt.Sprintf(t.column, time.Duration(l.span)*l.Interval), "Targets": l.Targets, "Maps": maps,
	})
}

// drawing lays out a target's map: a column is 8 units wide, a level 8 high.
func (l *Latency) drawing(t *LatencyTarget, lowest, highest int, narrow bool) latencyMap {
	const unit, axis = 8, 44
	rows := highest - lowest + 1
	if narrow || rows < 1 {
		rows = 1
	}
	m := latencyMap{Label: t.label(), Width: axis + maxColumns*unit, Height: (rows + 1) * unit}
	most := uint32(1)
	for i := range t.Heat {
		for _, n := range t.Heat[i].Levels {
			most = max(most, n)
		}
	}
	cell := func(column, row int, class string, opacity float64, title string) {
		m.Cells = append(m.Cells, latencyCell{
			X: axis + column*unit, Y: row * unit, W: unit, H: unit, Class: class, Opacity: fmt.Sprintf("%.2f", opacity), Title: title,
		})
	}
	for i := range t.Heat {
		c := &t.Heat[i]
		at := l.At.Add(time.Duration(i*l.span) * l.Interval).Format("15:04:05")
		if c.Lost > 0 {
			cell(i, 0, "lost", 1, fmt.Sprintf("%s: × %d", at, c.Lost))
		}
		if narrow {
			if c.max > 0 {
				cell(i, 1, heatClass(heatLevel(c.max)), 1, at+": ≤ "+c.max.Round(time.Microsecond).String())
			}
			continue
		}
		for level, n := range c.Levels {
			if n > 0 {
				title := fmt.Sprintf("%s: %d ≤ %s", at, n, HeatBound(level).Round(time.Microsecond))
				cell(i, 1+highest-level, heatClass(level), .3+.7*float64(n)/float64(most), title)
			}
		}
	}
	if !narrow {
		for level := lowest; level <= highest; level += 2 {
			ms := float64(HeatBound(level)) / 1e6
			m.Marks = append(m.Marks, latencyMark{Y: (2+highest-level)*unit - 1, Text: shortMS(&ms)})
		}
	}
	return m
}

func heatClass(level int) string {
	switch d := HeatBound(level); {
	case d <= time.Millisecond:
		return "fast"
	case d <= 30*time.Millisecond:
		return "fair"
	case d <= 250*time.Millisecond:
		return "slow"
	default:
		return "bad"
	}
}
