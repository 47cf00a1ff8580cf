package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var latencyStart = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// recorded is rounds one second apart; rtt is in milliseconds by round and target, negative for a lost one.
func recorded(names []string, rounds int, rtt func(round, target int) float64) *Latency {
	targets := make([]LatencyTarget, len(names))
	for i, n := range names {
		targets[i] = LatencyTarget{Name: n, Address: n}
	}
	l := NewLatency(latencyStart, time.Second, targets)
	for r := range rounds {
		l.Add(latencyStart.Add(time.Duration(r)*time.Second), func(i int) LatencyEcho {
			ms := rtt(r, i)
			if ms < 0 {
				return LatencyEcho{}
			}
			return LatencyEcho{RTT: time.Duration(ms * 1e6), Answered: true}
		})
	}
	return l
}

func TestLatencyPercentiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		n := 1 + r.IntN(2000)
		all := make([]float64, n)
		for i := range all {
			all[i] = math.Round(1e6*math.Exp(r.NormFloat64()*3))/1e6 + .000001 // from microseconds to minutes
		}
		l := recorded([]string{"a"}, n, func(round, _ int) float64 { return all[round] })
		slices.Sort(all)
		for _, q := range []float64{.01, .5, .9, .99, 1} {
			want := all[int(math.Ceil(q*float64(n)))-1]
			got := float64(l.Targets[0].percentile(q)) / 1e6
			if math.Abs(got-want) > .032*want+.000001 {
				t.Errorf("the %g quantile of %d times is %g ms, not %g", q, n, want, got)
			}
		}
	}
}

func TestLatencyBrief(t *testing.T) {
	l := recorded([]string{"10.0.0.1", "10.0.0.2"}, 4, func(_, target int) float64 { return float64(4 - 5*target) })
	var b bytes.Buffer
	if err := l.Write(&b, "brief", Page{}); err != nil {
		t.Fatal(err)
	}
	const want = "10.0.0.1 sent=4 loss=0.00% p50=4.00ms p90=4.00ms p99=4.00ms max=4.00ms jitter=0µs\n10.0.0.2 sent=4 loss=100.00% (no answer)\n"
	if b.String() != want {
		t.Errorf("%q\nwant %q", b.String(), want)
	}
	b.Reset()
	if err := l.Write(&b, "yaml", Page{}); err != nil || !strings.Contains(b.String(), "\nrounds: 4\n") {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestLatencyHeatKeepsItsSize(t *testing.T) {
	const rounds = 1000
	l := recorded([]string{"a", "b"}, rounds, func(round, target int) float64 {
		if target == 1 && round%10 == 0 {
			return -1
		}
		return float64(1 + round%7)
	})
	for i, wantLost := range []int{0, rounds / 10} {
		answers, lost := 0, 0
		for _, c := range l.Targets[i].Heat {
			lost += c.Lost
			for _, n := range c.Levels {
				answers += int(n)
			}
		}
		if len(l.Targets[i].Heat) > maxColumns || answers+lost != rounds || lost != wantLost {
			t.Errorf("%d columns with %d answers and %d lost of %d", len(l.Targets[i].Heat), answers, lost, rounds)
		}
	}
	if l.span*len(l.Targets[0].Heat) < rounds {
		t.Errorf("%d columns of %d rounds do not hold %d", len(l.Targets[0].Heat), l.span, rounds)
	}
	l.summarise()
	if got := *l.Targets[0].JitterMS; math.Abs(got-12.0/7) > .02 { // six steps of 1 ms and one of 6
		t.Errorf("jitter %g ms, not %g", got, 12.0/7)
	}
}

func TestLatencyText(t *testing.T) {
	l := recorded([]string{"10.0.0.1", "dead\x1b[2J"}, 6, func(round, target int) float64 {
		return [][]float64{{1, 1, 1, 8, -1, 1}, {-1, -1, -1, -1, -1, -1}}[target][round]
	})
	var b strings.Builder
	if err := l.Write(&b, "text", Page{Width: 80}); err != nil {
		t.Fatal(err)
	}
	want := `2 targets, 6 rounds in 5s

target        sent    loss      p50      p90      p99      max   jitter
10.0.0.1         6  16.67%   1.01ms   8.00ms   8.00ms   8.00ms   2.33ms
dead\x1b[2J      6 100.00%  no answer

10.0.0.1
lost         ×
  8.19ms    █
  5.79ms
  4.10ms
  2.90ms
  2.05ms
  1.45ms
  1.02ms ███  █

dead\x1b[2J
lost     ××××××

a column is 1s; latency on a scale of powers; ×: lost
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
	many := recorded([]string{"a", "b", "c", "d"}, 4, func(round, target int) float64 { return float64((round + 1) * (target + 1)) })
	b.Reset()
	if err := many.Write(&b, "text", Page{Width: 80, ASCII: true}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "\nd      ") || strings.ContainsAny(got, "█▁×") || !strings.Contains(got, "#") {
		t.Errorf("a line for each of many targets, in ASCII:\n%s", got)
	}
}

func TestLatencyJSON(t *testing.T) {
	l := recorded([]string{"a", "b"}, 3, func(_, target int) float64 { return float64(1 - 2*target) })
	var b bytes.Buffer
	if err := l.Write(&b, "json", Page{}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema  string
		Rounds  int
		Targets []struct {
			Name  string
			Lost  int
			P50MS *float64 `json:"p50_ms"`
			Heat  []struct {
				Lost    int
				Answers [][2]int
			}
		}
		Bounds []float64 `json:"heat_bounds_ms"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "hostmend.latency/v1" || got.Rounds != 3 || len(got.Targets) != 2 || got.Targets[0].P50MS == nil || *got.Targets[0].P50MS != 1 ||
		got.Targets[1].P50MS != nil || got.Targets[1].Lost != 3 || len(got.Bounds) != heatLevels-1 ||
		len(got.Targets[0].Heat) != 3 || len(got.Targets[0].Heat[2].Answers) != 1 || got.Targets[1].Heat[2].Lost != 1 {
		t.Errorf("%+v", got)
	}
	if level := got.Targets[0].Heat[2].Answers[0][0]; got.Bounds[level] < 1 || got.Bounds[level-1] >= 1 {
		t.Errorf("1 ms is on level %d, up to %g ms", level, got.Bounds[level])
	}
}

func TestLatencyHTML(t *testing.T) {
	for _, n := range []int{1, manyMaps + 1} {
		names := make([]string, n)
		for i := range names {
			names[i] = `<script>alert("x")</script>` + strings.Repeat("i", i)
		}
		l := recorded(names, 5, func(round, target int) float64 { return float64(1+target+round*9) - 20*float64(round%2) })
		var b bytes.Buffer
		if err := l.Write(&b, "html", Page{Lang: "en"}); err != nil {
			t.Fatal(err)
		}
		page := b.String()
		if strings.Contains(page, "<script") || strings.Contains(page, "http://") || strings.Contains(page, "https://") || !strings.Contains(page, "default-src 'none'") {
			t.Errorf("the page of %d targets holds a script or a link, or no policy", n)
		}
		if drawings := strings.Count(page, "<svg"); drawings != n || strings.Count(page, "<rect") < n {
			t.Errorf("%d drawings of %d targets", drawings, n)
		}
		d := xml.NewDecoder(&b)
		d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
