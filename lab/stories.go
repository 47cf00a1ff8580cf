package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// story makes the story from life of the playbook that named the fault rightly, LIBRARY/life/PLAYBOOK.txtar, from a capture of the
// host, unless the playbook has one that still holds.
func (l *Lab) story(ctx context.Context, f Fault, capture string) error {
	playbook, _, _ := strings.Cut(f.Expect[0], "/")
	file := filepath.Join(l.Stories, "life", playbook+".txtar")
	if _, err := os.Stat(file); err == nil {
		if _, err := l.playbook(ctx, "test", filepath.Join(l.Stories, playbook+".yaml")); err == nil {
			return nil
		}
	}
	text, err := l.playbook(ctx, "story", playbook, capture, "--about", f.Title+". On a host of the lab, "+string(f.Kind)+"/"+f.ID+".")
	if err != nil {
		return err
	}
	if !bytes.Contains(text, []byte("\n-- yes: ")) {
		return fmt.Errorf("hostmend sees %s on the host and not in its capture, %s", playbook, capture)
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, 0o644))
}

// playbook runs a `hostmend playbook` command on this machine and returns its output.
func (l *Lab) playbook(ctx context.Context, args ...string) ([]byte, error) {
	hostmend, err := filepath.Abs(l.Hostmend)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, hostmend, append([]string{"playbook"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("hostmend playbook %s: %w: %s", args[0], err, lastLines(stderr.String(), 5))
	}
	return out, nil
}
