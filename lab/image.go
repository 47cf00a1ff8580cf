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

// Image is the root file system that hosts are overlays of, and the private key that opens them.
type Image struct {
	Root, Key string
}

//go:embed image.sh
var imageScript string

// OpenImage returns the image in the cache directory, making it first if it is not there, which takes a minute or three.
// Images of other versions of image.sh stay.
func OpenImage(ctx context.Context, cache string, progress io.Writer) (Image, error) {
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return Image{}, err
	}
	name := fmt.Sprintf("image-%.12x", sha256.Sum256([]byte(imageScript)))
	image := Image{Root: filepath.Join(cache, name), Key: filepath.Join(cache, name+".key")}
	lock, err := waitForLock(ctx, filepath.Join(cache, name+".lock"), 10*time.Minute) // another lab may be making it
	if err != nil {
		return Image{}, err
	}
	defer lock.Close()
	if _, err := os.Stat(image.Root); err == nil {
		return image, nil
	}
	fmt.Fprintln(progress, "making the lab's image in", image.Root)
	unfinished := image.Root + ".unfinished"
	if err := errors.Join(os.RemoveAll(unfinished), os.RemoveAll(image.Key), os.RemoveAll(image.Key+".pub")); err != nil {
		return Image{}, err
	}
	keygen := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", image.Key)
	if out, err := keygen.CombinedOutput(); err != nil {
		return Image{}, fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	script := exec.CommandContext(ctx, "sh", "-c", imageScript, "image.sh", unfinished, image.Key+".pub")
	// In a mount and PID namespace of its own debootstrap leaves nothing mounted or running if it is interrupted.
	script.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Setpgid: true, Pdeathsig: unix.SIGKILL,
	}
	var log strings.Builder
	script.Stdout, script.Stderr = &log, &log
	if err := script.Run(); err != nil {
		return Image{}, fmt.Errorf("making the image: %w\n%s", err, lastLines(log.String(), 20))
	}
	return image, os.Rename(unfinished, image.Root)
}

// DefaultCache is where images are kept: outside any repository, since one is 1.3 GB of root-owned files.
func DefaultCache() string {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		base = "/var/cache"
	}
	return filepath.Join(base, "hostmend-lab")
}

// sweep removes what hosts of labs that were killed left behind. A living lab holds its hosts' locks.
func sweep(ctx context.Context, cache string) error {
	making, err := lockHosts(ctx, cache)
	if err != nil {
		return err
	}
	defer making.Close()
	dirs, err := filepath.Glob(filepath.Join(cache, hostPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		lock, err := lockFile(filepath.Join(dir, "lock"))
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err == nil { // while a last process dies its groups are busy, and the directory reminds the next lab of them
			err = until(ctx, 5*time.Second, func() error { return removeGroups(filepath.Base(dir)) })
		}
		if err == nil {
			err = os.RemoveAll(dir)
		}
		errs = append(errs, err)
		if lock != nil {
			lock.Close()
		}
	}
	return errors.Join(errs...)
}

// makeHostDir makes and locks a directory for one host.
func makeHostDir(ctx context.Context, cache string) (dir string, lock *os.File, err error) {
	making, err := lockHosts(ctx, cache)
	if err != nil {
		return "", nil, err
	}
	defer making.Close()
	if dir, err = os.MkdirTemp(cache, hostPrefix); err != nil {
		return "", nil, err
	}
	lock, err = lockFile(filepath.Join(dir, "lock"))
	return dir, lock, err
}

// lockHosts is held between making a host's directory and locking it, so that nobody sweeps it away there.
func lockHosts(ctx context.Context, cache string) (*os.File, error) {
	if err := os.MkdirAll(cache, 0o700); err != nil { // the first lab on this machine
		return nil, err
	}
	return waitForLock(ctx, filepath.Join(cache, "hosts.lock"), time.Minute)
}

// lockFile locks a file, making it if need be; unix.EWOULDBLOCK if another process has it.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return f, nil
}

// waitForLock is lockFile that waits while another process has it.
func waitForLock(ctx context.Context, name string, limit time.Duration) (lock *os.File, err error) {
	err = until(ctx, limit, func() error {
		lock, err = lockFile(name)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return permanent{err}
		}
		return err
	})
	return lock, err
}
