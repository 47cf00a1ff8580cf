package probes

import (
	"slices"
	"time"
)

// Status is how a probe's run ended.
type Status uint8

// A probe's facts exist only with OK. The zero Status is Failed: what nobody filled in is not known.
const (
	Failed  Status = iota // it could not find out; Reason says why
	Skipped               // it was not run; Reason says what it needs
	Nothing               // it looked, and the host does not have what it looks at; Reason says what is missing
	OK
)

var statusNames = [...]string{"failed", "skipped", "no data", "ok"}

func (s Status) String() string { return statusNames[s] }

// Observation is what one probe saw.
type Observation struct {
	Probe  string
	Status Status
	Reason string        // why there are no facts; empty with OK
	Facts  Value         // with OK, of the probe's Type
	At     time.Time     // when its (last) sample was taken
	Took   time.Duration // time spent in the probe, both samples together
}

// Snapshot is what a host looked like at one time: one Observation per probe that was asked, in the probes' order.
type Snapshot struct {
	Host         string
	At           time.Time
	Took         time.Duration
	Observations []Observation
}

// Get returns the observation of the probe called name, or nil if it was not asked.
func (s *Snapshot) Get(name string) *Observation {
	i := slices.IndexFunc(s.Observations, func(o Observation) bool { return o.Probe == name })
	if i < 0 {
		return nil
	}
	return &s.Observations[i]
}
