package cloud

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hostmend/hostmend/probes"
)

// fake is a cloud that knows one instance, or answers with an error.
type fake struct {
	info InstanceInfo
	err  error
}

func (f fake) Instance(context.Context) (InstanceInfo, error) { return f.info, f.err }

func TestInstance(t *testing.T) {
	if err := probes.Validate(Probes()); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		source fake
		status probes.Status
		want   string // JSON of the facts, or the reason
	}{
		{
			"running",
			fake{info: InstanceInfo{
				ID: "i-1", Status: "Running", Type: "ecs.g7.large", Region: "cn-hangzhou", Zone: "cn-hangzhou-h",
				ChargeType: "PrePaid", Locks: []string{"financial"}, Expires: at.AddDate(0, 0, 3), At: at,
			}},
			probes.OK,
			`{"id":"i-1","status":"Running","type":"ecs.g7.large","region":"cn-hangzhou","zone":"cn-hangzhou-h","charge_type":"PrePaid","locks":["financial"],"expires_in_days":3}`,
		},
		{
			"pay as you go",
			fake{info: InstanceInfo{ID: "i-1", At: at}},
			probes.OK,
			`{"id":"i-1","status":"","type":"","region":"","zone":"","charge_type":null,"locks":[],"expires_in_days":null}`,
		},
		{"unknown instance", fake{err: probes.NoData("the cloud knows no instance i-1")}, probes.Nothing, "the cloud knows no instance i-1"},
		{"no answer", fake{err: errors.New("DescribeInstances: Throttling")}, probes.Failed, "DescribeInstances: Throttling"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := probes.Runner[Source]{Source: tt.source, Probes: Probes(), Can: probes.Network}
			o := r.Run(t.Context(), nil).Observations[0]
			got := o.Reason
			if o.Status == probes.OK {
				got = string(Instance.Info().Facts.AppendJSON(nil, &o.Facts))
			}
			if o.Status != tt.status || got != tt.want {
				t.Errorf("%s: %s\nwant %s: %s", o.Status, got, tt.status, tt.want)
			}
		})
	}
}
