package network

import (
	"testing"

	"github.com/hostmend/hostmend/probes/probestest"
)

func TestConformance(t *testing.T) { probestest.Conform(t, Probes()) }
