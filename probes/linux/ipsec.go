package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// IPsec reads what the kernel's IPsec policies block.
var IPsec = probes.Define(probes.Probe[host.Host]{
	Name: "ipsec",
	Doc: `IPsec policies that block

Reads /proc/net/xfrm_stat. Costs 0.02 ms. Only if a packet was blocked by a policy since boot, it lists the policies with ip xfrm policy (2 ms). No data where
the kernel has no IPsec. Policies that want a tunnel which is not there are not looked at.`,
	Needs: probes.Root,
	Every: time.Minute,
}, ipsec)

type ipsecFacts struct {
	Blocked int           `fact:"blocked" unit:"packets" doc:"Packets that a policy blocked since boot, in and out; XfrmInPolBlock and XfrmOutPolBlock"`
	Block   []ipsecPolicy `fact:"policies" doc:"Policies that block, if any packet was blocked; at most 16"`
}

type ipsecPolicy struct {
	Policy    string `fact:"policy,key" doc:"Its selector and direction: src 192.0.2.7/32 dst 203.0.113.0/24 dir out"`
	Direction string `fact:"direction" doc:"in, out or fwd"`
}

const maxIPsecPolicies = 16

func ipsec(ctx context.Context, h host.Host) (ipsecFacts, error) {
	const name = "/proc/net/xfrm_stat"
	var f ipsecFacts
	text, err := readText(h, name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, probes.NoData("the kernel has no IPsec, or does not count what it does")
	}
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 2 || words[0] != "XfrmInPolBlock" && words[0] != "XfrmOutPolBlock" {
			continue
		}
		n, err := parseNumber(words[1])
		if err != nil {
			return f, fmt.Errorf("reading %s: %s: %.20q is not a count", name, words[0], words[1])
		}
		f.Blocked += n
	}
	if f.Blocked == 0 {
		return f, nil
	}
	out, err := h.Run(ctx, "ip", "xfrm", "policy")
	if err != nil {
		return f, err
	}
	if out.Exit != 0 {
		return f, fmt.Errorf("ip xfrm policy ended with status %d: %.200s", out.Exit, strings.TrimSpace(string(out.Stderr)))
	}
	f.Block = blockingPolicies(string(out.Stdout))
	return f, nil
}

// blockingPolicies reads what ip-xfrm(8) prints: a line of the selector, then indented ones, of which the first has direction and action.
func blockingPolicies(text string) []ipsecPolicy {
	var all []ipsecPolicy
	selector := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if strings.HasPrefix(line, "src ") {
			selector = strings.Join(words, " ")
			continue
		}
		if len(words) < 4 || words[0] != "dir" || !strings.Contains(line, " action block ") || len(all) == maxIPsecPolicies {
			continue
		}
		all = append(all, ipsecPolicy{Policy: selector + " dir " + words[1], Direction: words[1]})
	}
	return all
}
