package linux

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// redisLooksApart is how long the keys of a Redis that loses some are watched.
const redisLooksApart = 600 * time.Millisecond

// lookAtKeys tells how a Redis that has removed keys does so now. Its counters begin with its start, so that it is asked twice; and a third
// question, which commands it was given, only where it has no key left though it is used, or lost some in between. So is one that may lack time or hits.
func (d *daemonFacts) lookAtKeys(ctx context.Context, h host.Host, q host.Question, info string) {
	first := redisInfo(info)
	keys := redisKeys(first)
	used, _ := strconv.Atoi(first["total_commands_processed"])
	d.Keys = probes.Some(keys)
	lost := first["evicted_keys"] != "0" || first["expired_keys"] != "0"
	if !lost && keys > 0 && !worthAsking(first, keys) || keys == 0 && used < 100 || first["role"] == "" {
		return
	}
	if h.Sleep(ctx, redisLooksApart) != nil {
		return
	}
	q.Say = "INFO\r\nINFO commandstats\r\nSLOWLOG GET 32\r\nQUIT\r\n"
	reply, err := h.Exchange(ctx, q)
	if err != nil {
		return
	}
	text, slow := reply.Text, ""
	if i := strings.Index(text, "\r\n*"); i >= 0 { // an array: the slow log, whose texts may look like anything
		text, slow = text[:i], text[i+2:]
	}
	d.addSlow(slow, h.Now())
	second := redisInfo(text)
	rate := func(key string) probes.Opt[float64] {
		a, errA := strconv.Atoi(first[key])
		b, errB := strconv.Atoi(second[key])
		if errA != nil || errB != nil || b < a {
			return probes.None[float64]()
		}
		return probes.Some(float64(b-a) / redisLooksApart.Seconds())
	}
	d.Hits, d.Misses = rate("keyspace_hits"), rate("keyspace_misses")
	d.Keys = probes.Some(redisKeys(second))
	if !lost && keys > 0 {
		return
	}
	d.Evicts, d.Expires = rate("evicted_keys"), rate("expired_keys")
	up, err := strconv.Atoi(second["uptime_in_seconds"])
	if expired, odd := strconv.Atoi(second["expired_keys"]); err == nil && odd == nil {
		now, _ := d.Expires.Get()
		d.Expires = probes.Some(max(now, float64(expired)/float64(max(1, up))))
	}
	for _, name := range []string{"flushall", "flushdb", "expire", "pexpire", "del", "unlink"} {
		calls, _, _ := strings.Cut(strings.TrimPrefix(second["cmdstat_"+name], "calls="), ",")
		n, bad := strconv.Atoi(calls)
		if bad != nil || n == 0 || err != nil {
			continue
		}
		if name == "flushall" || name == "flushdb" {
			d.Flushes += n
		}
		d.Removals = append(d.Removals, fmt.Sprintf("%s %d times", strings.ToUpper(name), n))
	}
	if d.Flushes > 0 {
		d.FlushEvery = probes.Some(time.Duration(up) * time.Second / time.Duration(d.Flushes))
	}
}

// redisInfo reads lines like "used_memory:1024".
func redisInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info
}

// redisKeys adds up "db0:keys=12,expires=3,avg_ttl=1".
func redisKeys(info map[string]string) (keys int) {
	for key, value := range info {
		if list, ok := strings.CutPrefix(value, "keys="); ok && strings.HasPrefix(key, "db") {
			number, _, _ := strings.Cut(list, ",")
			n, _ := strconv.Atoi(number)
			keys += n
		}
	}
	return keys
}
