package network

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Metadata asks the cloud's metadata service for this instance's id.
var Metadata = probes.Define(probes.Probe[host.Host]{
	Name: "metadata",
	Doc: `Metadata service of the cloud

On an Alibaba Cloud instance, fetches http://100.100.100.200/latest/meta-data/instance-id and asks the kernel which way that takes. Password
resets, keys, user data and the cloud's own agents depend on it. Where the instance wants tokens (IMDSv2) the answer is 403: the service is
reached, and no token is asked for. Then it asks for what the instance type allows. Elsewhere there is no data. Costs 1.5 ms of CPU and at most 2 s
of waiting.`,
	Needs:   probes.Network,
	Every:   time.Minute,
	Timeout: 3 * time.Second,
}, metadata)

type metadataFacts struct {
	Reachable     bool                      `fact:"reachable" doc:"The service answered, be it that it wants a token"`
	Status        probes.Opt[int]           `fact:"status" unit:"code" doc:"HTTP status; absent without an answer"`
	TokenRequired bool                      `fact:"token_required" doc:"It answers only requests with a token (security hardening mode)"`
	InstanceID    probes.Opt[string]        `fact:"instance_id" doc:"What it calls this instance; absent where it wants a token"`
	Took          probes.Opt[time.Duration] `fact:"took" doc:"Time of the whole exchange; absent without an answer"`
	Interface     probes.Opt[string]        `fact:"interface" doc:"The interface that the kernel would use; absent if there is no route"`
	Gateway       probes.Opt[string]        `fact:"gateway" doc:"The next hop; absent if the address is taken to be on the wire"`
	Why           probes.Opt[string]        `fact:"why" doc:"Why it was not reached; absent if it was"`
	EgressMax     probes.Opt[float64]       `fact:"egress_max" unit:"bytes/s" doc:"What the instance type may send; instance/max-netbw-egress, which is in Kbit/s. Absent where the service does not say"`
	IngressMax    probes.Opt[float64]       `fact:"ingress_max" unit:"bytes/s" doc:"What it may receive; instance/max-netbw-ingress"`
	SessionsMax   probes.Opt[float64]       `fact:"sessions_max" unit:"count" doc:"How many connections it may have; instance/instance-type-spec/max-connections, which many regions lack"`
}

const metadataWait = 2 * time.Second

func metadata(ctx context.Context, h host.Host) (metadataFacts, error) {
	here, err := onAlibaba(h)
	if err != nil {
		return metadataFacts{}, err
	}
	if !here {
		return metadataFacts{}, probes.NoData("this is no Alibaba Cloud instance")
	}
	f := metadataFacts{}
	f.Interface, f.Gateway = wayTo(ctx, h, netip.MustParseAddr(metadataAddress))
	ctx, cancel := context.WithTimeout(ctx, metadataWait)
	defer cancel()
	answer, err := h.Get(ctx, "http://"+metadataAddress+"/latest/meta-data/instance-id", nil)
	if err != nil {
		if notAsked(err) {
			return f, err
		}
		f.Why = probes.Some(reason(err))
		return f, nil
	}
	f.Reachable, f.Status, f.Took = true, probes.Some(answer.Status), probes.Some(answer.Took)
	switch answer.Status {
	case http.StatusOK:
		f.InstanceID = probes.Some(answer.Body)
		f.limits(ctx, h)
	case http.StatusForbidden:
		f.TokenRequired = true
	default: // something else listens at this address: a proxy, another network's host
		f.Reachable, f.Why = false, probes.Some("it answered "+http.StatusText(answer.Status))
	}
	return f, nil
}

// wayTo says by which interface and next hop a packet would go.
func wayTo(ctx context.Context, h host.Host, dst netip.Addr) (iface, gateway probes.Opt[string]) {
	r, err := h.RouteTo(ctx, dst)
	if errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) {
		return iface, gateway
	}
	if err != nil {
		return probes.Unread[string](err.Error()), probes.Unread[string](err.Error())
	}
	if r.Gateway.IsValid() {
		gateway = probes.Some(r.Gateway.String())
	}
	links, err := h.Links(ctx)
	if err != nil {
		return probes.Unread[string](err.Error()), gateway
	}
	for _, l := range links {
		if l.Index == r.Link {
			iface = probes.Some(l.Name)
		}
	}
	return iface, gateway
}

// limits asks for the instance type's, of which any may be missing: https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata.
func (f *metadataFacts) limits(ctx context.Context, h host.Host) {
	const kbit = 1000.0 / 8
	f.EgressMax = metadataLimit(ctx, h, "max-netbw-egress", kbit)
	f.IngressMax = metadataLimit(ctx, h, "max-netbw-ingress", kbit)
	f.SessionsMax = metadataLimit(ctx, h, "instance-type-spec/max-connections", 1)
}

func metadataLimit(ctx context.Context, h host.Host, item string, unit float64) probes.Opt[float64] {
	answer, err := h.Get(ctx, "http://"+metadataAddress+"/latest/meta-data/instance/"+item, nil)
	if err != nil {
		return probes.Unread[float64](err.Error())
	}
	n, err := strconv.Atoi(strings.TrimSpace(answer.Body))
	if answer.Status != http.StatusOK || err != nil || n <= 0 {
		return probes.None[float64]()
	}
	return probes.Some(float64(n) * unit)
}
