package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// readText returns a text file that the kernel makes, whose last line must be whole. An error of the file itself already names the
// operation and the path.
func readText(h host.Files, name string) (string, error) {
	b, err := h.ReadFile(name)
	if err != nil {
		return "", err
	}
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return "", fmt.Errorf("reading %s: it is empty, or its last line is cut short", name)
	}
	return string(b), nil
}

// errEmpty is for a file that is there and says nothing.
var errEmpty = errors.New("it is empty")

// readLine returns the first line of a file that is expected to have one, without the white space around it. The kernel ends every
// line, so one of its files that does not end with a line's end was cut short; what programs write need not.
func readLine(h host.Files, name string) (string, error) {
	b, err := h.ReadFile(name)
	if err != nil {
		return "", err
	}
	text := string(b)
	kernels := strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/sys/")
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	switch {
	case line == "":
		return "", fmt.Errorf("reading %s: %w", name, errEmpty)
	case kernels && !strings.HasSuffix(text, "\n"):
		return "", fmt.Errorf("reading %s: the line is cut short", name)
	}
	return line, nil
}

// optionalLine is a file's line, absent if there is no such file or nothing in it.
func optionalLine(h host.Files, name string) probes.Opt[string] {
	line, err := readLine(h, name)
	switch {
	case err == nil:
		return probes.Some(line)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errEmpty):
		return probes.None[string]()
	default:
		return probes.Unread[string](err.Error())
	}
}

// readInt reads a file that holds one number.
func readInt(h host.Files, name string) (int, error) {
	line, err := readLine(h, name)
	if err != nil {
		return 0, err
	}
	n, err := parseCount(line)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	return n, nil
}

// optionalInt is a file's number, absent if there is no such file.
func optionalInt(h host.Files, name string) probes.Opt[int] {
	n, err := readInt(h, name)
	switch {
	case err == nil:
		return probes.Some(n)
	case errors.Is(err, fs.ErrNotExist):
		return probes.None[int]()
	default:
		return probes.Unread[int](err.Error())
	}
}

// parseCount parses a number that the kernel prints from an unsigned variable. What exceeds an int64 (the unlimited
// fs.file-max of 2⁶⁴-1 in newer distributions) is the largest int.
func parseCount(s string) (int, error) {
	u, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a count", s)
	}
	return int(min(u, math.MaxInt64)), nil
}

// percent is part of whole in percent; 0 of 0 is 0.
func percent(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}

// rate is the growth of a counter per second. A counter that went backwards was reset, and an interval that is not
// positive says nothing: then there is none.
func rate(cur, prev uint64, dt time.Duration) probes.Opt[float64] {
	if cur < prev || dt <= 0 {
		return probes.None[float64]()
	}
	return probes.Some(float64(cur-prev) / dt.Seconds())
}
