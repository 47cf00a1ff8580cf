package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// Sysctl reads the kernel parameters that are one number.
var Sysctl = probes.DefineKeyed(probes.Probe[host.Host]{
	Name: "sysctl",
	Doc: `Kernel parameters that are numbers

Reads those files under /proc/sys that a playbook names, as in sysctl["net.core.somaxconn"]; a dot within a name is written as a slash, as
sysctl(8) does: sysctl["net.ipv4.conf.eth0/100.rp_filter"]. Costs 0.01 ms each; all of them 20 ms. It is the value now, not the one
that the files in /etc/sysctl.d ask for. Parameters under net are those of this network namespace.`,
	Every: time.Minute,
}, sysctlKeys(isOneNumber), sysctlNumber)

// SysctlText reads kernel parameters as they are written.
var SysctlText = probes.DefineKeyed(probes.Probe[host.Host]{
	Name: "sysctl_text",
	Doc: `Kernel parameters as text

Reads those files under /proc/sys that a playbook names, as in sysctl_text["net.ipv4.tcp_congestion_control"]. Costs 0.01 ms each; all
of them 20 ms. Keys that would give away a secret are never read.`,
	Every: time.Minute,
}, sysctlKeys(func(string) bool { return true }), readSysctl)

// SysctlList reads the kernel parameters that are several numbers.
var SysctlList = probes.DefineKeyed(probes.Probe[host.Host]{
	Name: "sysctl_list",
	Doc: `Kernel parameters that are lists of numbers

Reads those files under /proc/sys that a playbook names, as in sysctl_list["net.ipv4.tcp_rmem"][2]. Costs 0.01 ms each; all of them 20 ms.
A single number is a list of one.`,
	Every: time.Minute,
}, sysctlKeys(areNumbers), sysctlNumbers)

func sysctlNumber(ctx context.Context, h host.Host, key string) (int, error) {
	text, err := readSysctl(ctx, h, key)
	if err != nil {
		return 0, err
	}
	if !isOneNumber(text) {
		return 0, fmt.Errorf("%s is %.60q, which is not one number: sysctl_text and sysctl_list have it", key, text)
	}
	return parseNumber(text)
}

func sysctlNumbers(ctx context.Context, h host.Host, key string) ([]int, error) {
	text, err := readSysctl(ctx, h, key)
	if err != nil {
		return nil, err
	}
	var all []int
	for f := range strings.FieldsSeq(text) {
		n, err := parseNumber(f)
		if err != nil {
			return nil, fmt.Errorf("%s is %.60q, which is not a list of numbers: sysctl_text has it", key, text)
		}
		all = append(all, n)
	}
	return all, nil
}

// parseNumber parses a number that may be negative. What exceeds an int64 is the largest int.
func parseNumber(s string) (int, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return int(n), nil
	}
	u, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a number", s)
	}
	return int(min(u, math.MaxInt64)), nil
}

func isOneNumber(text string) bool {
	_, err := parseNumber(text)
	return err == nil
}

func areNumbers(text string) bool {
	fields := strings.Fields(text)
	return len(fields) > 0 && !slices.ContainsFunc(fields, func(f string) bool { return !isOneNumber(f) })
}

// sysctlSecrets hold keys, or do something when they are read (stat_refresh).
var sysctlSecrets = []string{"stable_secret", "tcp_fastopen_key", "stat_refresh"}

func readSysctl(_ context.Context, h host.Host, key string) (string, error) {
	parts := strings.Split(key, ".")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(part, "/", ".")
		if parts[i] == "" || parts[i] == "." || parts[i] == ".." {
			return "", fmt.Errorf("%q is not the name of a kernel parameter", key)
		}
	}
	if slices.Contains(sysctlSecrets, parts[len(parts)-1]) {
		return "", fmt.Errorf("%s is not read", key)
	}
	b, err := h.ReadFile("/proc/sys/" + strings.Join(parts, "/"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// sysctlKeys lists the parameters whose text is wanted. Of the hundred for each interface only "all" and "default" are listed, and
// what may not be read, or is only written, is left out.
func sysctlKeys(wanted func(text string) bool) func(context.Context, host.Host) ([]string, error) {
	return func(ctx context.Context, h host.Host) ([]string, error) {
		var keys []string
		var walk func(dir, prefix string, depth int) error
		walk = func(dir, prefix string, depth int) error {
			entries, err := h.ReadDir(dir)
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			for _, e := range entries {
				key := prefix + strings.ReplaceAll(e.Name, ".", "/")
				switch {
				case e.Type.IsDir() && depth < 8:
					perInterface := strings.HasSuffix(prefix, ".conf.") || strings.HasSuffix(prefix, ".neigh.")
					if perInterface && e.Name != "all" && e.Name != "default" {
						continue
					}
					if err := walk(dir+"/"+e.Name, key+".", depth+1); err != nil && depth == 0 {
						return err
					}
				case e.Type.IsRegular():
					if text, err := readSysctl(ctx, h, key); err == nil && wanted(text) {
						keys = append(keys, key)
					}
				}
			}
			return nil
		}
		err := walk("/proc/sys", "", 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, probes.NoData("there is no /proc/sys")
		}
		return keys, err
	}
}
