package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// hungMount mounts a FUSE file system whose server takes its requests and never answers them, as a daemon in a deadlock does. The
// server says yes to INIT first, so that the kernel sends it the rest.
func hungMount(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("this kernel has no FUSE: %v", err)
	}
	dir := t.TempDir()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("hostmend-test", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		t.Skipf("mounting FUSE: %v", err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		// Force aborts the connection: what waits for an answer gets ECONNABORTED and the server's read ENODEV.
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
		<-done
		unix.Close(fd)
	})
	ready := make(chan error, 1)
	go func() {
		defer close(done)
		serveNothing(fd, ready)
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	return dir
}

// serveNothing speaks the protocol of include/uapi/linux/fuse.h as far as INIT.
func serveNothing(fd int, ready chan<- error) {
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n < 40 {
			return // unmounted
		}
		const opInit = 26
		if binary.NativeEndian.Uint32(buf[4:]) != opInit {
			continue // taken and never answered
		}
		answer := make([]byte, 16+64) // fuse_out_header, fuse_init_out
		binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
		copy(answer[8:16], buf[8:16]) // the request's id
		binary.NativeEndian.PutUint32(answer[16:], 7)
		binary.NativeEndian.PutUint32(answer[20:], 31)
		binary.NativeEndian.PutUint32(answer[24:], 1<<16) // max_readahead
		binary.NativeEndian.PutUint32(answer[36:], 1<<16) // max_write
		_, err = unix.Write(fd, answer)
		ready <- err
	}
}

// runHungMount is set in the process that TestHungMount starts.
const runHungMount = "HOSTMEND_TEST_HUNG_MOUNT"

// TestHungMount runs every probe in a process of its own while a mount hangs: the others answer, the run ends within its limits, and so
// does the process.
func TestHungMount(t *testing.T) {
	if dir := os.Getenv(runHungMount); dir != "" {
		diagnoseBesideHungMount(t, dir)
		return
	}
	dir := hungMount(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestHungMount$", "-test.v")
	cmd.Env = append(os.Environ(), runHungMount+"="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%v\n%s", err, &out)
		}
		t.Logf("ended after %s", time.Since(began))
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill() // it has not ended
		t.Fatal("the process has not ended; something in it waits for the dead file system")
	}
}

func diagnoseBesideHungMount(t *testing.T, dir string) {
	h := &host.Local{Offline: true}
	r := probes.Runner[host.Host]{Source: h, Probes: Probes(), Can: probes.Root}
	for range 2 { // the second time the first call is still stuck
		began := time.Now()
		snap := r.Run(t.Context(), nil)
		if took := time.Since(began); took > 8*time.Second { // the longest limit of a probe is 5 s
			t.Errorf("the run took %s", took)
		}
		for i, o := range snap.Observations {
			if strings.Contains(o.Reason, "did not come back") || strings.Contains(o.Reason, "has not come back") {
				t.Errorf("%s: %s", o.Probe, o.Reason)
			}
			if o.Probe != Filesystems.Name {
				continue
			}
			typ := r.Probes[i].Info().Facts
			want := map[string]string{"mounts[" + dir + "].hung": "true", "mounts[/].hung": "false"}
			for path, json := range want {
				if got := lookUp(t, path, typ, &o.Facts); got != json {
					t.Errorf("%s = %s, want %s", path, got, json)
				}
			}
		}
	}
}
