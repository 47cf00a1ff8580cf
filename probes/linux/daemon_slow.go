package linux

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// slowLately is how old an entry of the slow log may be to count.
const slowLately = time.Minute

// worthAsking reports whether a Redis may lack time or hits: it has so many keys that to go through them takes long, has computed a
// twentieth of its life, or hardly ever had what it was asked for.
func worthAsking(info map[string]string, keys int) bool {
	number := func(key string) float64 {
		n, err := strconv.ParseFloat(info[key], 64)
		if err != nil {
			return 0
		}
		return n
	}
	return keys >= 50_000 || number("used_cpu_user")+number("used_cpu_sys") > max(10, number("uptime_in_seconds"))/20 ||
		number("keyspace_misses") > max(10_000, 10*number("keyspace_hits"))
}

// slowCommand is an entry of the slow log: https://redis.io/docs/latest/commands/slowlog-get/
type slowCommand struct {
	at   time.Time
	took time.Duration
	what string // the command and its first argument
	from string
}

// respReader reads a reply in Redis' protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/. What is cut short is not ok.
type respReader struct{ rest string }

// head reads ":12", "*3" or "$5".
func (r *respReader) head(kind byte) (n int, ok bool) {
	line, rest, found := strings.Cut(r.rest, "\r\n")
	if !found || line == "" || line[0] != kind {
		return 0, false
	}
	n, err := strconv.Atoi(line[1:])
	r.rest = rest
	return n, err == nil && n >= 0
}

func (r *respReader) text() (string, bool) {
	n, ok := r.head('$')
	if !ok || n+2 > len(r.rest) {
		return "", false
	}
	s := r.rest[:n]
	r.rest = r.rest[n+2:]
	return s, true
}

// texts reads n texts; of those it gives the first two back.
func (r *respReader) texts(n int) (first []string, ok bool) {
	for range n {
		s, ok := r.text()
		if !ok {
			return nil, false
		}
		if len(first) < 2 {
			first = append(first, s)
		}
	}
	return first, true
}

func (r *respReader) slow() (c slowCommand, ok bool) {
	parts, okParts := r.head('*')
	_, okID := r.head(':')
	at, okAt := r.head(':')
	micro, okTook := r.head(':')
	if !okParts || !okID || !okAt || !okTook || parts < 4 {
		return c, false
	}
	n, okWords := r.head('*')
	words, okAll := r.texts(n)
	more, okMore := r.texts(parts - 4) // the client's address and name, since Redis 4
	if !okWords || !okAll || !okMore || len(words) == 0 {
		return c, false
	}
	words[0] = strings.ToUpper(words[0])
	c = slowCommand{at: time.Unix(int64(at), 0), took: time.Duration(micro) * time.Microsecond, what: fmt.Sprintf("%.60s", strings.Join(words, " "))}
	if len(more) > 0 {
		c.from = more[0]
	}
	return c, true
}

// slowCommands reads the slow log's newest entries.
func slowCommands(text string) (list []slowCommand) {
	r := respReader{text}
	n, _ := r.head('*')
	for range n {
		c, ok := r.slow()
		if !ok {
			break
		}
		list = append(list, c)
	}
	return list
}

// addSlow tells how much of its time the last minute's slow commands took, from the oldest of them that the log told to now.
func (d *daemonFacts) addSlow(text string, now time.Time) {
	var total time.Duration
	sum, longest := map[string]time.Duration{}, map[string]slowCommand{} // by command
	oldest := now
	for _, c := range slowCommands(text) {
		if now.Sub(c.at) > slowLately {
			break // the newest come first
		}
		d.Slow++
		total += c.took
		oldest = c.at
		name, _, _ := strings.Cut(c.what, " ")
		sum[name] += c.took
		if c.took > longest[name].took {
			longest[name] = c
		}
	}
	if d.Slow == 0 {
		return
	}
	most := slices.MaxFunc(slices.Sorted(maps.Keys(sum)), func(a, b string) int { return cmp.Compare(sum[a], sum[b]) })
	worst := longest[most]
	d.SlowPct = probes.Some(min(100, 100*total.Seconds()/max(1, now.Sub(oldest).Seconds())))
	d.SlowLongest = probes.Some(worst.took)
	d.SlowMost = redactLine(worst.what)
	d.SlowFrom = worst.from
}
