// Package network holds the probes that ask the network: they send packets and time the answers.
package network

import (
	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Probes lists every probe of this package.
func Probes() []probes.Probe[host.Host] {
	return []probes.Probe[host.Host]{
		ENI,
		Gateway,
		Metadata,
		Names,
		NTPOffset,
		PackageMirror,
		PathMTU,
		Paths,
		Proxies,
		Resolvers,
		Ways,
	}
}
