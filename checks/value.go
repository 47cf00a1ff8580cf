package checks

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// value is a fact that a named group of the pattern gives.
type value struct {
	name, typ, unit, doc string
}

// valueTypes are the types that a value may have, and what is read as one.
var valueTypes = []struct {
	name, doc string
	kind      probes.Kind
	parse     func(string) (probes.Value, bool)
}{
	{"text", "as it stands there", probes.String, func(s string) (probes.Value, bool) { return probes.StringValue(s), true }},
	{"number", "`12`, `-3.5`, `1e6`", probes.Float, parseNumber},
	{"duration", "`90s`, `1.5 ms`, `2h30m`", probes.Duration, parseDuration},
	{"bytes", "`4096`, `12 kB`, `1.5GiB`: k, M, G and T count by 1024, with or without B or iB", probes.Int, parseBytes},
	{"bool", "`true`, `yes`, `on`, `1`, or `false`, `no`, `off`, `0`", probes.Bool, parseBool},
}

func typeNames() []string {
	names := make([]string, len(valueTypes))
	for i, t := range valueTypes {
		names[i] = t.name
	}
	return names
}

func (v *value) field() probes.Field {
	i := slices.Index(typeNames(), v.typ)
	return probes.Field{Name: v.name, Unit: v.unit, Doc: v.doc, Type: &probes.Type{Kind: valueTypes[i].kind, Optional: true}}
}

// of reads the value. What was found and is no value of the type is unreadable: it is there, and nobody knows what it says.
func (v *value) of(a *host.CheckAnswer) probes.Value {
	text, ok := a.Groups[v.name]
	switch {
	case a.Error != "":
		return probes.UnreadableValue(a.Error)
	case !ok && a.Count == 0 && a.Cut:
		return probes.UnreadableValue(cutShort)
	case !ok:
		return probes.AbsentValue()
	case strings.Contains(text, "<redacted>"):
		return probes.UnreadableValue("what was found looks like a secret")
	}
	i := slices.Index(typeNames(), v.typ)
	parsed, ok := valueTypes[i].parse(text)
	if !ok {
		return probes.UnreadableValue(fmt.Sprintf("%.40q is no %s", text, strings.TrimSuffix(v.typ, "s")))
	}
	return parsed
}

func parseNumber(s string) (probes.Value, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return probes.FloatValue(f), err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

func parseDuration(s string) (probes.Value, bool) {
	d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
	return probes.DurationValue(d), err == nil
}

func parseBytes(s string) (probes.Value, bool) {
	s = strings.TrimSpace(s)
	end := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(s)
	}
	f, err := strconv.ParseFloat(s[:end], 64)
	unit := strings.ToLower(strings.TrimSpace(s[end:]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	power := strings.Index("kmgt", unit)
	switch {
	case err != nil || len(unit) > 1 || power < 0:
		return probes.Value{}, false
	case unit != "":
		f *= math.Pow(1024, float64(power+1))
	}
	return probes.IntValue(int64(f)), f < 1<<62
}

func parseBool(s string) (probes.Value, bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "yes", "on", "1":
		return probes.BoolValue(true), true
	case "false", "no", "off", "0":
		return probes.BoolValue(false), true
	}
	return probes.Value{}, false
}
