package linux

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// usualPorts are where services listen as a rule, and a word of their units' names.
var usualPorts = map[string][]string{
	"6379": {"redis", "valkey"}, "5432": {"postgresql"}, "3306": {"mysql", "mysqld", "mariadb"}, "27017": {"mongod", "mongodb"}, "11211": {"memcached"},
	"5672": {"rabbitmq"}, "9200": {"elasticsearch", "opensearch"}, "2181": {"zookeeper"}, "9092": {"kafka"}, "2379": {"etcd"}, "9000": {"php"},
}

var (
	unitWord   = regexp.MustCompile(`[a-z]{4,}`)
	portInText = regexp.MustCompile(`[:\s](\d{4,5})\b`)
	dullWords  = []string{"server", "service", "system", "systemd", "daemon", "main", "local", "network", "data", "user", "connection", "host", "remote", "socket", "boot", "login"}
)

// meant is the service among those that do not run that a complaint about a refused connection is about: its name has a word of the
// complaint, or of what listens on its port as a rule. Empty if that is not one alone.
func meant(complaint string, idle []string) string {
	words := unitWord.FindAllString(strings.ToLower(complaint), -1)
	for _, m := range portInText.FindAllStringSubmatch(complaint, -1) {
		words = append(words, usualPorts[m[1]]...)
	}
	var found []string
	for _, unit := range idle {
		name := strings.TrimSuffix(unit, ".service")
		for _, part := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("-@._", r) }) {
			if len(part) >= 4 && !slices.Contains(dullWords, part) && slices.Contains(words, part) {
				found = append(found, unit)
				break
			}
		}
	}
	// postgresql@15-main.service does the work of postgresql.service, and is idle with it.
	if i := slices.IndexFunc(found, func(unit string) bool { return strings.Contains(unit, "@") }); i >= 0 {
		return found[i]
	}
	if len(found) == 1 {
		return found[0]
	}
	return ""
}

// neededUnits are the services that nginx, or an application behind it, looks for in vain, and who needs each.
func neededUnits(web *nginxFacts, idle []string) map[string]string {
	needs := map[string]string{}
	for i := range web.Upstreams.All {
		u := &web.Upstreams.All[i]
		if unit, ok := u.Unit.Get(); ok && u.Refused > 0 {
			needs[unit] = "nginx, which sends requests to " + u.Address
		}
	}
	for i := range web.Failing {
		a := &web.Failing[i]
		if unit := meant(a.Says, idle); unit != "" && a.Reason == "dependency-refused" {
			needs[unit] = fmt.Sprintf("the application at %s, which says for %s: %s", a.Address, a.Path, a.Says)
		}
	}
	return needs
}

// askStopped finds out who requires a service that does not run, and whether it was stopped or ended by itself.
func (u *unitFacts) askStopped(ctx context.Context, h host.Host) {
	text, err := systemctl(ctx, h, "show", "--no-pager", "--property=RequiredBy,BoundBy,RequisiteOf,ActiveExitTimestampMonotonic,ExecMainExitTimestampMonotonic", "--", u.Name)
	if err != nil {
		return
	}
	p := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		p[key] = value
	}
	u.ByHand = endedOnDemand(p)
	enabled := enabledUnits(h)
	for name := range strings.FieldsSeq(p["RequiredBy"] + " " + p["BoundBy"] + " " + p["RequisiteOf"]) {
		if strings.HasSuffix(name, ".service") && enabled[name] {
			u.NeededBy = name + ", which requires it"
			return
		}
	}
}

// conditionAsked reports whether a condition of the unit was looked at in this boot: of one that was unloaded since it ran systemd says that it does not hold.
func conditionAsked(ctx context.Context, h host.Host, unit string) bool {
	at, err := systemctl(ctx, h, "show", "--no-pager", "--property=ConditionTimestampMonotonic", "--value", "--", unit)
	return err != nil || strings.TrimSpace(at) != "0"
}

// endedOnDemand: of a unit that is stopped, systemd leaves the state active first, and its main process ends after that; of one that ends by itself it is the
// other way round.
func endedOnDemand(p map[string]string) bool {
	left, err := strconv.ParseUint(p["ActiveExitTimestampMonotonic"], 10, 64)
	ended, err2 := strconv.ParseUint(p["ExecMainExitTimestampMonotonic"], 10, 64)
	return err == nil && err2 == nil && left > 0 && ended >= left
}

// ownOrder are the services that enabled ones of the administrator's own, under /etc/systemd/system, start after: whoever writes that down needs them. The files are
// few, and a package's unit, which orders itself after all databases there might be, is not among them.
func ownOrder(h host.Files) map[string]string {
	const dir, most = "/etc/systemd/system", 50
	order, enabled := map[string]string{}, enabledUnits(h)
	entries, _ := h.ReadDir(dir)
	for i, e := range entries {
		if i >= 4*most || len(order) >= most || !e.Type.IsRegular() || !strings.HasSuffix(e.Name, ".service") || !enabled[e.Name] {
			continue
		}
		text, _ := readText(h, dir+"/"+e.Name) // what cannot be read tells nothing
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if !slices.Contains([]string{"After", "Wants", "BindsTo", "Requires"}, strings.TrimSpace(key)) {
				continue
			}
			for name := range strings.FieldsSeq(value) {
				if strings.HasSuffix(name, ".service") && order[name] == "" {
					order[name] = e.Name
				}
			}
		}
	}
	return order
}

// addNeeded adds the services that do not run and that a unit in trouble looks for in vain.
func (f *unitsFacts) addNeeded(ctx context.Context, h host.Host, idle []string) error {
	needs := map[string]string{}
	for i := range f.List.All {
		u := &f.List.All[i]
		if unit := meant(u.Sign, idle); unit != "" && u.Reason == "dependency-refused" && !u.Ailing {
			needs[unit] = u.Name + ", which says: " + u.Sign
		}
	}
	for i := range f.List.All {
		u := &f.List.All[i]
		if by, ok := needs[u.Name]; ok {
			u.NeededBy = by
			delete(needs, u.Name)
		}
	}
	for unit, by := range needs {
		block, err := systemctl(ctx, h, "show", "--no-pager", "--property="+unitProperties, "--", unit)
		if err != nil {
			return err
		}
		u, p, err := parseUnit(strings.TrimSpace(block), h.Now())
		if err != nil {
			return fmt.Errorf("systemctl show: %w", err)
		}
		u.NeededBy, u.Unmet = by, p["ConditionResult"] == "no" && conditionAsked(ctx, h, unit)
		f.List.All = append(f.List.All, u)
	}
	return nil
}
