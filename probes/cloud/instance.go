package cloud

import (
	"context"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// Instance reads how the cloud sees the instance.
var Instance = probes.Define(probes.Probe[Source]{
	Name: "cloud_instance",
	Doc: `Instance, as the cloud sees it

One call of DescribeInstances for this instance. It costs a round trip to the API. What it says may lag behind by some seconds: an instance
that was just stopped is Running for a moment.`,
	Needs:   probes.Network,
	Every:   5 * time.Minute,
	Timeout: 10 * time.Second,
}, instance)

type instanceFacts struct {
	ID         string             `fact:"id" doc:"The instance's id"`
	Status     string             `fact:"status" doc:"\"Running\", \"Starting\", \"Stopping\", \"Stopped\" or \"Pending\""`
	Type       string             `fact:"type" doc:"Instance type: \"ecs.g7.large\""`
	Region     string             `fact:"region" doc:"Region id"`
	Zone       string             `fact:"zone" doc:"Zone id"`
	ChargeType probes.Opt[string] `fact:"charge_type" doc:"\"PrePaid\" or \"PostPaid\""`
	Locks      []string           `fact:"locks" doc:"Why operations on it are locked: \"financial\", \"security\", \"recycling\", …"`
	ExpiresIn  probes.Opt[int]    `fact:"expires_in_days" unit:"days" doc:"Days until a prepaid instance is stopped; negative once it is over; absent if it does not expire"`
}

func instance(ctx context.Context, src Source) (instanceFacts, error) {
	i, err := src.Instance(ctx)
	if err != nil {
		return instanceFacts{}, err
	}
	f := instanceFacts{ID: i.ID, Status: i.Status, Type: i.Type, Region: i.Region, Zone: i.Zone, Locks: i.Locks}
	if i.ChargeType != "" {
		f.ChargeType = probes.Some(i.ChargeType)
	}
	if !i.Expires.IsZero() {
		f.ExpiresIn = probes.Some(int(i.Expires.Sub(i.At).Hours() / 24))
	}
	return f, nil
}
