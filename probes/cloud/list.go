// Package cloud holds the probes of what only the cloud knows of an instance. They run where the cloud's API can be asked, far from
// the host that they speak of.
package cloud

import (
	"context"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// Probes lists every probe of this package.
func Probes() []probes.Probe[Source] {
	return []probes.Probe[Source]{
		Instance,
	}
}

// Source answers questions about one instance.
type Source interface {
	// Instance describes it. An instance that the cloud does not know is probes.ErrNoData.
	Instance(ctx context.Context) (InstanceInfo, error)
}

// InstanceInfo is what the cloud's inventory says of an instance.
type InstanceInfo struct {
	ID         string
	Status     string // "Running", "Starting", "Stopping", "Stopped", "Pending"
	Type       string // "ecs.g7.large"
	Region     string
	Zone       string
	ChargeType string    // "PrePaid", "PostPaid"
	Locks      []string  // why operations are locked: "financial", "security", …
	Expires    time.Time // zero: never
	At         time.Time // when the cloud said so
}
