package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/hostmend/hostmend/playbooks"
	"github.com/hostmend/hostmend/probes"
)

// Words is a value as a person reads it, with its unit: 3.2 GiB, 94.1 %, 12/s. Of a list of groups it says how many there are.
func Words(v *probes.Value, t *probes.Type, unit string) string {
	switch v.Kind() {
	case probes.Unreadable:
		return "not known: " + firstLine(v.Reason())
	case probes.Absent:
		return "none"
	case probes.String:
		if v.Str() == "" {
			return `""`
		}
		return v.Str()
	case probes.List:
		return listWords(v, t, unit)
	case probes.Struct, probes.Map:
		return string(t.AppendJSON(nil, v))
	default:
	}
	return playbooks.Human(v, unit) + suffix(v, unit)
}

// suffix is what stands behind a number. Bytes have their unit already; what only counts needs none.
func suffix(v *probes.Value, unit string) string {
	if v.Kind() != probes.Int && v.Kind() != probes.Float {
		return ""
	}
	switch unit {
	case "%", "ms", "us", "µs", "ns", "MHz", "ppm", "KiB", "Mbit/s":
		return " " + unit
	case "bytes/s", "1/s":
		return "/s"
	}
	return ""
}

func listWords(v *probes.Value, t *probes.Type, unit string) string {
	more := ""
	if v.More() > 0 {
		more = fmt.Sprintf(" and %d more", v.More())
	}
	if t.Elem.Kind == probes.Struct || t.Elem.Kind == probes.Map || t.Elem.Kind == probes.List {
		return fmt.Sprintf("%d listed%s", v.Len(), more)
	}
	if v.Len() == 0 {
		return "none" + more
	}
	items := make([]string, v.Len())
	for i := range items {
		items[i] = Words(v.At(i), t.Elem, unit)
	}
	return strings.Join(items, ", ") + more
}

func duration(d time.Duration) string {
	v := probes.DurationValue(d)
	return playbooks.Human(&v, "")
}
