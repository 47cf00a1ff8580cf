package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// VMImage is a virtual machine that has booted: its disks, kernel and saved state in Dir, and the key that opens it.
type VMImage struct {
	Dir, Key string
}

func (i VMImage) file(name string) string { return filepath.Join(i.Dir, name) }

var (
	//go:embed vm-image.sh
	vmImageScript string
	//go:embed vm-control.pl
	vmControlProgram string
	//go:embed vm-furnish.sh
	vmFurnishScript string
)

// OpenVMImage returns the virtual machine made from image, which takes some four minutes if it is not in the cache.
func OpenVMImage(ctx context.Context, image Image, progress io.Writer) (VMImage, error) {
	if err := vmPossible(); err != nil {
		return VMImage{}, err
	}
	version, err := exec.CommandContext(ctx, "qemu-system-x86_64", "--version").Output() // a state is for the QEMU that saved it
	if err != nil {
		return VMImage{}, fmt.Errorf("qemu-system-x86_64: %w", err)
	}
	hash := sha256.Sum256([]byte(image.Root + vmImageScript + vmControlProgram + vmFurnishScript + string(version)))
	v := VMImage{Dir: filepath.Join(filepath.Dir(image.Root), fmt.Sprintf("vm-%.12x", hash)), Key: image.Key}
	lock, err := waitForLock(ctx, v.Dir+".lock", 20*time.Minute) // another lab may be making it
	if err != nil {
		return VMImage{}, err
	}
	defer lock.Close()
	if _, err := os.Stat(v.Dir); err == nil {
		return v, nil
	}
	fmt.Fprintln(progress, "making the lab's virtual machine in", v.Dir)
	unfinished := VMImage{Dir: v.Dir + ".unfinished", Key: v.Key}
	if err := errors.Join(os.RemoveAll(unfinished.Dir), os.MkdirAll(unfinished.Dir, 0o700)); err != nil {
		return VMImage{}, err
	}
	if err := makeVMDisks(ctx, image, unfinished); err != nil {
		return VMImage{}, err
	}
	if err := saveVM(ctx, unfinished); err != nil {
		return VMImage{}, fmt.Errorf("making the virtual machine: %w", err)
	}
	return v, os.Rename(unfinished.Dir, v.Dir)
}

func makeVMDisks(ctx context.Context, image Image, v VMImage) error {
	control := v.file("lab-control")
	if err := os.WriteFile(control, []byte(vmControlProgram), 0o755); err != nil {
		return err
	}
	script := exec.CommandContext(ctx, "sh", "-c", vmImageScript, "vm-image.sh", image.Root, v.Dir, control)
	// As for the containers' image: nothing stays mounted or running if it is interrupted.
	script.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Setpgid: true, Pdeathsig: unix.SIGKILL,
	}
	if out, err := script.CombinedOutput(); err != nil {
		return fmt.Errorf("making the virtual machine's disks: %w\n%s", err, lastLines(string(out), 20))
	}
	return nil
}

// saveVM boots the machine, waits until it is healthy, and saves its state.
func saveVM(ctx context.Context, image VMImage) error {
	v := &vm{key: image.Key}
	err := v.start(ctx, image)
	if err == nil {
		err = v.save(ctx, image.file("state"))
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, v.trail())
	}
	return errors.Join(err, v.Close())
}

func (v *vm) save(ctx context.Context, state string) error {
	if err := until(ctx, 10*time.Minute, func() error {
		_, err := Script{Where: inHost, Text: vmFurnishScript}.Run(ctx, v)
		return err
	}); err != nil {
		return err
	}
	if err := until(ctx, 5*time.Minute, func() error { return Healthy(ctx, v) }); err != nil {
		return err
	}
	for _, command := range []string{"stop", "migrate_set_parameter max-bandwidth 10G", "migrate -d \"exec:cat >'" + state + "'\""} {
		if answer, err := v.monitor(ctx, command); err != nil || strings.Contains(answer, "Error") {
			return fmt.Errorf("QEMU's monitor: %s: %s %w", command, answer, err)
		}
	}
	if err := v.await(ctx, "info migrate", "Migration status: completed", 2*time.Minute); err != nil {
		return err
	}
	_, _ = v.monitor(ctx, "quit") // writes its disks; the monitor ends without an answer
	return v.qemu.Wait()
}
