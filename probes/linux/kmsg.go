package linux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// kernelRecord is one message of the kernel.
type kernelRecord struct {
	level int // 0 emergency … 7 debug, as syslog(2) has them
	age   time.Duration
	text  string
}

// readKernelLog reads what the kernel's ring buffer holds, oldest first; where /dev/kmsg may not be read, what the journal has
// of this boot. /dev/kmsg needs root where kernel.dmesg_restrict is 1. All probes of a run share it: it may hold thousands of messages.
func readKernelLog(ctx context.Context, h host.Host) ([]kernelRecord, error) {
	return probes.Share(ctx, "kernel log", func() ([]kernelRecord, error) { return kernelMessages(ctx, h) })
}

func kernelMessages(ctx context.Context, h host.Host) ([]kernelRecord, error) {
	up, err := readUptime(h)
	if err != nil {
		return nil, err
	}
	b, err := h.ReadFile("/dev/kmsg")
	if err == nil && len(b) > 0 {
		return parseKmsg(string(b), up)
	}
	records, journalErr := readKernelJournal(ctx, h, up)
	switch {
	case journalErr == nil:
		return records, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w; %w", err, journalErr)
	case err == nil, errors.Is(err, fs.ErrNotExist): // containers have no /dev/kmsg, or an empty one
		return nil, probes.NoData("there is no kernel log here")
	}
	return nil, err
}

// parseKmsg parses records like "6,339,5140900,-;NET: Registered PF_INET": level + 8 × facility, sequence number,
// microseconds since boot, flags and perhaps more. Lines that begin with a space are a record's dictionary.
// https://www.kernel.org/doc/Documentation/ABI/testing/dev-kmsg
func parseKmsg(text string, up time.Duration) ([]kernelRecord, error) {
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("reading /dev/kmsg: the last record is cut short")
	}
	records := make([]kernelRecord, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		if line[0] == ' ' {
			continue
		}
		r, err := parseKmsgRecord(strings.TrimSuffix(line, "\n"), up)
		if err != nil {
			return nil, fmt.Errorf("reading /dev/kmsg: %w", err)
		}
		records = append(records, r)
	}
	return records, nil
}

func parseKmsgRecord(line string, up time.Duration) (kernelRecord, error) {
	head, text, ok := strings.Cut(line, ";")
	prefix := strings.SplitN(head, ",", 4)
	if !ok || len(prefix) < 3 {
		return kernelRecord{}, fmt.Errorf("%.80q is not a record", line)
	}
	priority, err1 := strconv.ParseUint(prefix[0], 10, 16)
	micros, err2 := strconv.ParseInt(prefix[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return kernelRecord{}, fmt.Errorf("%.80q: %w", line, err)
	}
	age, err := ageOf(micros, up)
	return kernelRecord{level: int(priority & 7), age: age, text: unescape(text)}, err
}

// ageOf is how long ago a time in microseconds since boot was. The log's clock and the uptime's differ by little (the log's stands
// still while the machine is suspended); a message from the future means that the uptime is a container's, made up by lxcfs.
func ageOf(micros int64, up time.Duration) (time.Duration, error) {
	age := up - time.Duration(micros)*time.Microsecond
	if micros < 0 || age < -time.Minute {
		return 0, fmt.Errorf("a message at %d µs, but /proc/uptime says %s: not the same machine's", micros, up)
	}
	return max(0, age), nil
}

// unescape turns the kernel's \x1b back into the byte that it stands for; bytes that a terminal would obey stay escaped.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, `\x`)
		if i < 0 || len(s) < i+4 {
			break
		}
		c, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
		if err != nil || c < 0x20 || c == 0x7f {
			b.WriteString(s[:i+4])
		} else {
			b.WriteString(s[:i])
			b.WriteByte(byte(c))
		}
		s = s[i+4:]
	}
	b.WriteString(s)
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// journalLines is how many messages are asked of the journal, newest ones: 1 KB each in its JSON.
const journalLines = 2000

// readKernelJournal asks the journal for the kernel's messages of this boot.
func readKernelJournal(ctx context.Context, h host.Host, up time.Duration) ([]kernelRecord, error) {
	out, err := h.Run(ctx, "journalctl", "-k", "-b", "-q", "--no-pager", "-o", "json", "-n", strconv.Itoa(journalLines))
	if err != nil {
		return nil, err
	}
	switch {
	case out.Exit != 0:
		return nil, fmt.Errorf("journalctl -k: exit status %d: %.120q", out.Exit, out.Stderr)
	case len(out.Stdout) == 0:
		return nil, errors.New("the journal shows no kernel messages")
	}
	var records []kernelRecord
	for line := range strings.Lines(string(out.Stdout)) {
		r, err := parseJournalEntry(line, up)
		if err != nil {
			return nil, fmt.Errorf("reading journalctl -k: %w", err)
		}
		records = append(records, r)
	}
	return records, nil
}

func parseJournalEntry(line string, up time.Duration) (kernelRecord, error) {
	var e struct {
		Message  any   `json:"MESSAGE"` // a string, or an array of bytes where it is not UTF-8
		Priority int   `json:"PRIORITY,string"`
		Source   int64 `json:"_SOURCE_MONOTONIC_TIMESTAMP,string"`
		Received int64 `json:"__MONOTONIC_TIMESTAMP,string"`
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return kernelRecord{}, fmt.Errorf("%.80q: %w", line, err)
	}
	micros := e.Source
	if micros == 0 {
		micros = e.Received
	}
	age, err := ageOf(micros, up)
	r := kernelRecord{level: e.Priority & 7, age: age}
	r.text, _ = e.Message.(string) // not a string: no rule knows such a message
	return r, err
}
