package report

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"time"
)

// LatencyFormats are the forms in which a [Latency] can be written; the first is the default.
var LatencyFormats = []string{"text", "brief", "json", "yaml", "html"}

// Latency is what pings of some targets saw over time. It takes the same memory however long it runs: when its columns are full,
// each two become one of twice the span.
type Latency struct {
	Schema   string          `json:"schema"`
	At       time.Time       `json:"at"` // of the first round
	Interval time.Duration   `json:"interval_ns"`
	Rounds   int             `json:"rounds"`
	Targets  []LatencyTarget `json:"targets"`

	span int // rounds in a column
	last time.Time
}

// LatencyTarget is one target's figures. Times are absent until there was an answer.
type LatencyTarget struct {
	Name    string   `json:"name"`
	Address string   `json:"address"`
	Role    string   `json:"role,omitempty"`
	Sent    int      `json:"sent"`
	Lost    int      `json:"lost"`
	LossPct float64  `json:"loss_pct"`
	MinMS   *float64 `json:"min_ms,omitempty"`
	P50MS   *float64 `json:"p50_ms,omitempty"`
	P90MS   *float64 `json:"p90_ms,omitempty"`
	P99MS   *float64 `json:"p99_ms,omitempty"`
	MaxMS   *float64 `json:"max_ms,omitempty"`
	// JitterMS is the mean difference between an answer's time and the one before.
	JitterMS *float64 `json:"jitter_ms,omitempty"`
	Error    string   `json:"error,omitempty"` // why the latest ping could not be sent
	// Heat is the histogram over time: for each column its answers by latency level (its upper bound is HeatBounds'), and what was lost.
	Heat []HeatColumn `json:"heat"`

	fine     [fineBuckets]uint32
	answers  int
	min, max time.Duration
	previous time.Duration
	jitter   time.Duration // sum of the differences
	jitters  int
}

// HeatColumn is a span of time of one target.
type HeatColumn struct {
	Lost   int
	Levels [heatLevels]uint32 // answers of each
	max    time.Duration      // the slowest answer
}

// MarshalJSON leaves out the levels without answers, which are nearly all: {"lost": 1, "answers": [[LEVEL, COUNT], …]}.
func (c *HeatColumn) MarshalJSON() ([]byte, error) {
	b := []byte(`{"answers":[`)
	if c.Lost > 0 {
		b = fmt.Appendf(nil, `{"lost":%d,"answers":[`, c.Lost)
	}
	first := true
	for level, n := range c.Levels {
		if n == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = fmt.Appendf(b, "[%d,%d]", level, n)
	}
	return append(b, "]}"...), nil
}

const (
	// maxColumns is how many spans of time are kept: about as wide as a terminal, and 19 KB a target.
	maxColumns = 120
	// Heat levels are half octaves from 16 µs, a loopback's time, to 4 s, longer than any ping waits: 16 µs × 2^(36/2).
	heatLevels = 36
	heatFloor  = 16 * time.Microsecond
	// The fine histogram has 32 buckets an octave, so that a percentile is at most 3 % off.
	fineBits    = 5
	fineBuckets = 36 << fineBits
)

// NewLatency begins to record. Names and addresses go by position, as the echoes of Add do.
func NewLatency(at time.Time, interval time.Duration, targets []LatencyTarget) *Latency {
	return &Latency{Schema: "hostmend.latency/v1", At: at, Interval: interval, Targets: targets, span: 1, last: at}
}

// LatencyEcho is one ping's outcome.
type LatencyEcho struct {
	RTT      time.Duration
	Answered bool
	Error    string // it could not be sent
}

// Add records a round: one outcome for each target.
func (l *Latency) Add(at time.Time, echo func(i int) LatencyEcho) {
	column := l.Rounds / l.span
	if column == maxColumns {
		l.halve()
		column = l.Rounds / l.span
	}
	l.Rounds++
	l.last = at
	for i := range l.Targets {
		t := &l.Targets[i]
		if len(t.Heat) <= column {
			t.Heat = append(t.Heat, HeatColumn{})
		}
		t.add(&t.Heat[column], echo(i))
	}
}

// halve makes one column of each two.
func (l *Latency) halve() {
	l.span *= 2
	for i := range l.Targets {
		heat := l.Targets[i].Heat
		for j := range len(heat) / 2 {
			heat[j] = heat[2*j]
			heat[j].join(&heat[2*j+1])
		}
		l.Targets[i].Heat = heat[:len(heat)/2]
	}
}

func (c *HeatColumn) join(o *HeatColumn) {
	c.Lost += o.Lost
	c.max = max(c.max, o.max)
	for i, n := range o.Levels {
		c.Levels[i] += n
	}
}

func (t *LatencyTarget) add(c *HeatColumn, e LatencyEcho) {
	t.Sent++
	t.Error = e.Error
	if !e.Answered {
		t.Lost++
		c.Lost++
		t.previous = 0
		t.LossPct = 100 * float64(t.Lost) / float64(t.Sent)
		return
	}
	t.LossPct = 100 * float64(t.Lost) / float64(t.Sent)
	c.Levels[heatLevel(e.RTT)]++
	c.max = max(c.max, e.RTT)
	t.fine[fineBucket(e.RTT)]++
	if t.answers == 0 || e.RTT < t.min {
		t.min = e.RTT
	}
	t.answers++
	t.max = max(t.max, e.RTT)
	if t.previous > 0 {
		t.jitter += (e.RTT - t.previous).Abs()
		t.jitters++
	}
	t.previous = e.RTT
}

// heatLevel is the row of the heat map that a time belongs to.
func heatLevel(d time.Duration) int {
	if d <= heatFloor {
		return 0
	}
	return min(int(math.Ceil(2*math.Log2(float64(d)/float64(heatFloor)))), heatLevels-1)
}

// HeatBound is the longest time that belongs to a level; the last level has no bound.
func HeatBound(level int) time.Duration {
	return time.Duration(float64(heatFloor) * math.Exp2(float64(level)/2))
}

// fineBucket is the position of a time in the fine histogram: its highest bit, and the five below that.
func fineBucket(d time.Duration) int {
	v := uint64(max(d, 1))
	if v < 1<<fineBits {
		return int(v)
	}
	octave := bits.Len64(v) - 1 - fineBits
	return min((octave+1)<<fineBits+int(v>>octave)&(1<<fineBits-1), fineBuckets-1)
}

// fineValue is the middle of a bucket.
func fineValue(bucket int) time.Duration {
	if bucket < 1<<fineBits {
		return time.Duration(bucket)
	}
	octave := bucket>>fineBits - 1
	low := uint64(1<<fineBits+bucket&(1<<fineBits-1)) << octave
	return time.Duration(low + 1<<octave/2)
}

// percentile is the time within which q of the answers came.
func (t *LatencyTarget) percentile(q float64) time.Duration {
	rank, seen := int(math.Ceil(q*float64(t.answers))), 0
	for i, n := range t.fine {
		if seen += int(n); n > 0 && seen >= rank {
			return min(max(fineValue(i), t.min), t.max)
		}
	}
	return t.max
}

// summarise fills in the figures that are made of histograms.
func (l *Latency) summarise() {
	ms := func(d time.Duration) *float64 {
		f := math.Round(float64(d)/1e3) / 1e3
		return &f
	}
	for i := range l.Targets {
		t := &l.Targets[i]
		if t.answers == 0 {
			continue
		}
		t.MinMS, t.MaxMS = ms(t.min), ms(t.max)
		t.P50MS, t.P90MS, t.P99MS = ms(t.percentile(.5)), ms(t.percentile(.9)), ms(t.percentile(.99))
		if t.jitters > 0 {
			t.JitterMS = ms(t.jitter / time.Duration(t.jitters))
		}
	}
}

// Write writes what was seen in one of the LatencyFormats.
func (l *Latency) Write(w io.Writer, format string, to Page) error {
	l.summarise()
	switch format {
	case "text":
		return l.writeText(w, to)
	case "brief":
		return l.writeBrief(w, to)
	case "json", "yaml":
		return WriteData(w, format, struct {
			*Latency
			ColumnRounds int       `json:"column_rounds"`
			HeatBounds   []float64 `json:"heat_bounds_ms"`
		}{l, l.span, heatBounds()})
	case "html":
		return l.writeHTML(w, to)
	}
	return fmt.Errorf("there is no format %q", format)
}

func heatBounds() []float64 {
	bounds := make([]float64, heatLevels-1)
	for i := range bounds {
		bounds[i] = math.Round(float64(HeatBound(i))/1e3) / 1e3
	}
	return bounds
}
