package host

import (
	"context"
	"fmt"

	"github.com/shirou/gopsutil/v3/common"
	gopsutil "github.com/shirou/gopsutil/v3/host"
)

// Machine is what gopsutil makes of the traces that hypervisors and container managers leave behind. They are signs, not proof:
// both are empty on bare metal, and also where it knows no trace.
type Machine struct {
	Virtualization string `json:"virtualization,omitempty"` // "kvm", "xen", "hyperv", "vmware", "vbox", "docker", "lxc", …
	Role           string `json:"role,omitempty"`           // "guest" or "host"
}

// paths are where gopsutil looks, whatever HOST_PROC and the like say in the environment of this process.
var paths = common.EnvMap{
	common.HostProcEnvKey: "/proc", common.HostEtcEnvKey: "/etc", common.HostRootEnvKey: "/", common.HostSysEnvKey: "/sys",
}

// Machine asks gopsutil, which looks once in the life of a process and then remembers: no machine becomes another one. What it may
// not read it takes for not there.
func (*Local) Machine(ctx context.Context) (Machine, error) {
	if err := ctx.Err(); err != nil {
		return Machine{}, fmt.Errorf("recognising the machine: %w", err)
	}
	system, role, err := gopsutil.VirtualizationWithContext(context.WithValue(ctx, common.EnvKey, paths))
	if err != nil {
		return Machine{}, fmt.Errorf("recognising the machine: %w", err)
	}
	return Machine{Virtualization: system, Role: role}, nil
}
