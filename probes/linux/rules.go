package linux

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Rules reads the policy-routing rules.
var Rules = probes.Define(probes.Probe[host.Host]{
	Name: "rules",
	Doc: `Policy-routing rules

Asks the kernel by netlink. Costs 0.05 ms. Selectors on ports, users and tunnels are not shown, so two rules may look alike.`,
	Every: time.Minute,
}, rules)

type rulesFacts struct {
	MainIPv4 bool        `fact:"main_ipv4" doc:"Some IPv4 rule looks up the table main for every packet; without it the host does not find its routes"`
	MainIPv6 bool        `fact:"main_ipv6" doc:"The same for IPv6; false as well where IPv6 is off"`
	Custom   []ruleFacts `fact:"custom" doc:"Rules beside the three that the kernel makes (0 local, 32766 main, 32767 default)"`
}

type ruleFacts struct {
	Rule     string `fact:"rule,key" doc:"As ip rule writes it: 500: from 192.0.2.0/24 lookup 1000"`
	Family   int    `fact:"family" unit:"IP version" doc:"4 or 6"`
	Priority int    `fact:"priority" unit:"number" doc:"The lowest one is looked at first"`
	Table    int    `fact:"table" unit:"number" doc:"The table that it looks up; 0 for another action"`
	Action   string `fact:"action" doc:"lookup, goto, blackhole, unreachable, prohibit"`
}

func rules(ctx context.Context, h host.Host) (rulesFacts, error) {
	var f rulesFacts
	all, err := h.Rules(ctx)
	if err != nil {
		return f, err
	}
	seen := map[string]int{}
	for _, r := range all {
		plain := selector(r) == "from all"
		if plain && r.Table == mainTable && r.Action == "lookup" {
			f.MainIPv4 = f.MainIPv4 || r.Family == 4
			f.MainIPv6 = f.MainIPv6 || r.Family == 6
		}
		if plain && (r.Priority == 0 && r.Table == localTable || r.Priority == 32766 && r.Table == mainTable || r.Priority == 32767) {
			continue
		}
		text := ruleText(r)
		if seen[text]++; seen[text] > 1 {
			text = fmt.Sprintf("%s (%d)", text, seen[text])
		}
		f.Custom = append(f.Custom, ruleFacts{Rule: text, Family: r.Family, Priority: r.Priority, Table: r.Table, Action: r.Action})
	}
	return f, nil
}

// selector writes what a rule looks at.
func selector(r host.Rule) string {
	words := []string{"from all"}
	if r.Invert {
		words[0] = "not from all"
	}
	if r.Src.IsValid() {
		words[0] = strings.Replace(words[0], "all", r.Src.String(), 1)
	}
	if r.Dst != (netip.Prefix{}) {
		words = append(words, "to "+r.Dst.String())
	}
	if r.IifName != "" {
		words = append(words, "iif "+r.IifName)
	}
	if r.OifName != "" {
		words = append(words, "oif "+r.OifName)
	}
	if r.Mark != 0 || r.Mask != 0 {
		words = append(words, fmt.Sprintf("fwmark %#x/%#x", r.Mark, r.Mask))
	}
	return strings.Join(words, " ")
}

func ruleText(r host.Rule) string {
	s := fmt.Sprintf("%d: %s %s", r.Priority, selector(r), r.Action)
	if r.Action == "lookup" {
		s += fmt.Sprintf(" %d", r.Table)
	}
	if r.Family == 6 {
		s += " ipv6"
	}
	return s
}
