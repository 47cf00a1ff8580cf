package linux

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// steady reads a list that may change while it is read: once more, and then it says so. read begins by forgetting what it has.
func steady(read func() error) error {
	err := read()
	if errors.Is(err, host.ErrInterrupted) {
		err = read()
	}
	return err
}

// linkNames are the interfaces' names by index.
func linkNames(ctx context.Context, h host.Kernel) (map[int]string, error) {
	links, err := h.Links(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	return names, nil
}

// linkName is the name of an interface, or its index if it went away since.
func linkName(names map[int]string, index int) string {
	if name, ok := names[index]; ok {
		return name
	}
	return "#" + strconv.Itoa(index)
}

// isDefault reports whether a route is a default route that packets may take: of the type unicast, and not dead.
func isDefault(r *host.Route) bool {
	return r.Dst.IsValid() && r.Dst.Bits() == 0 && r.Type == "unicast" && !r.Dead
}

// defaultRoutes are those of every table; a VRF and policy routing keep theirs in tables of their own.
func defaultRoutes(ctx context.Context, h host.Kernel) ([]host.Route, error) {
	var all []host.Route
	err := steady(func() error {
		all = all[:0]
		return h.Routes(ctx, func(r *host.Route) error {
			if isDefault(r) {
				all = append(all, *r)
			}
			return nil
		})
	})
	return all, err
}

// mainTable is RT_TABLE_MAIN.
const mainTable = 254

// preferred is the IPv4 default route of the main table that packets take, else the IPv6 one, else any.
func preferred(defaults []host.Route) (best host.Route, ok bool) {
	rank := func(r host.Route) int {
		rank := r.Metric
		if r.Table != mainTable {
			rank += 1 << 34
		}
		if r.Dst.Addr().Is6() {
			rank += 1 << 33
		}
		return rank
	}
	for _, r := range defaults {
		if !ok || rank(r) < rank(best) {
			best, ok = r, true
		}
	}
	return best, ok
}

// columns reads the per-CPU tables under /proc/net/stat: a line of column names, then a line of hexadecimal numbers for each CPU. Which
// columns there are changes from kernel to kernel; what is summed up is asked for by name.
func columns(text string) (rows []map[string]uint64, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	names := strings.Fields(lines[0])
	for i, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) != len(names) {
			return nil, fmt.Errorf("line %d has %d columns and the heading %d", i+2, len(fields), len(names))
		}
		row := make(map[string]uint64, len(names))
		for j, f := range fields {
			if row[names[j]], err = strconv.ParseUint(f, 16, 64); err != nil {
				return nil, fmt.Errorf("line %d: %s: %.20q is not a hexadecimal number", i+2, names[j], f)
			}
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, errors.New("there is no line after the heading")
	}
	return rows, nil
}
