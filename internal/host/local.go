package host

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Local is the machine that this process runs on. The zero Local works and may use the network.
type Local struct {
	// Offline keeps it from sending packets.
	Offline bool
	// OperatorDir is where the operator's secrets and his list of commands are; empty: /etc/hostmend.
	OperatorDir string
	// Secrets are the names of those that checks use. Their values are removed from every answer.
	Secrets []string

	learn sync.Once
	known []string // the values of secrets that were read, in the forms in which they may come back
	mu    sync.Mutex
	stuck map[string]time.Time // calls that were given up and have not come back, by when
}

// giveUp calls f, which may sit in the kernel for good, and leaves it behind when ctx has ended and grace is over. While a
// call is left behind another one for the same what is refused, so that an agent does not lose a thread or a process every time it asks.
func giveUp[T any](ctx context.Context, l *Local, what string, grace time.Duration, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	l.mu.Lock()
	since, ok := l.stuck[what]
	l.mu.Unlock()
	if ok {
		return none, fmt.Errorf("%s: given up at %s and not back yet: %w", what, since.Format(time.TimeOnly), context.DeadlineExceeded)
	}
	back := make(chan result, 1)
	go func() {
		v, err := f()
		l.mu.Lock()
		defer l.mu.Unlock()
		back <- result{v, err}
		delete(l.stuck, what)
	}()
	select {
	case res := <-back:
		return res.v, res.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case res := <-back:
		return res.v, res.err
	case <-timer.C:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(back) == 0 {
		if l.stuck == nil {
			l.stuck = map[string]time.Time{}
		}
		l.stuck[what] = time.Now()
	}
	return none, fmt.Errorf("%s: %w", what, ctx.Err())
}

// Now returns the wall clock, with Go's monotonic reading.
func (*Local) Now() time.Time { return time.Now() }

// Sleep waits for d or until ctx ends.
func (*Local) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Can reports what this process may do.
func (l *Local) Can() Capabilities {
	return Capabilities{Root: os.Geteuid() == 0, Network: !l.Offline}
}

// buffers are for files under /proc and /sys, whose size is not known before they are read. 64 KiB holds nearly all in one
// read(2), which is also what makes seq_file contents consistent.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// maxRecord is the room that a read of /dev/kmsg wants, or it says EINVAL: PRINTKRB_RECORD_MAX and its prefix, since Linux 3.5.
const maxRecord = 8 << 10

// shortAttribute is less than what sysfs gives at once of the few attributes that take several reads (PAGE_SIZE, kernfs_file_read_iter).
const shortAttribute = 4 << 10

// isAttribute reports whether a short read shows all that is in a file: the kernel formats a sysctl (proc_sys_call_handler) or an
// attribute of sysfs (kernfs_seq_show) as a whole. Not to ask whether there is more saves one system call of four. The tables under /proc
// are another case: they come in pages, the last record of which may not fit (seq_read_iter).
func isAttribute(name string) bool {
	return strings.HasPrefix(name, "/proc/sys/") || strings.HasPrefix(name, "/sys/")
}

// ReadFile reads a file with as few system calls as there can be: os.ReadFile also asks for the size and registers the file
// with the poller, which doubles the cost of a small file under /proc.
func (*Local) ReadFile(name string) ([]byte, error) {
	fd, err := open(name, unix.O_RDONLY|unix.O_NONBLOCK) // a FIFO in the place of a file must not block
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	buf, n := *p, 0
	for {
		if len(buf)-n < maxRecord {
			if n > MaxFile {
				return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
			}
			buf = slices.Grow(buf, max(len(buf), sizeLeft(fd, n)))
			buf = buf[:cap(buf)]
		}
		m, err := unix.Read(fd, buf[n:])
		switch {
		case err == unix.EINTR, err == unix.EPIPE: // EPIPE: /dev/kmsg has overwritten the record that was next
			continue
		case err == unix.EAGAIN: // a FIFO or a device that has nothing more to say
			return slices.Clone(buf[:n]), nil
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		case m == 0, m < shortAttribute && n == 0 && isAttribute(name):
			return slices.Clone(buf[:n+m]), nil
		}
		n += m
	}
}

// sizeLeft is how much there is to read of a regular file behind n, and room to see its end; 0 where it does not say.
func sizeLeft(fd, n int) int {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size <= int64(n) || st.Size > MaxFile {
		return 0
	}
	return int(st.Size) - n + maxRecord
}

// ReadTail reads the end of a file.
func (*Local) ReadTail(name string, limit int) ([]byte, error) {
	fd, err := open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read tail", Path: name, Err: errors.New("not a regular file")}
	}
	from := max(0, info.Size()-int64(limit))
	buf := make([]byte, info.Size()-from)
	n, err := f.ReadAt(buf, from)
	if n == len(buf) {
		err = nil
	}
	return buf[:n], err
}

func open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
}

// ReadDir lists a directory.
func (*Local) ReadDir(name string) ([]DirEntry, error) {
	entries, err := os.ReadDir(name)
	list := make([]DirEntry, len(entries))
	for i, e := range entries {
		list[i] = DirEntry{Name: e.Name(), Type: e.Type()}
	}
	return list, err
}

// Stat is stat(2).
func (*Local) Stat(name string) (FileInfo, error) { return info(os.Stat(name)) }

// Lstat is lstat(2).
func (*Local) Lstat(name string) (FileInfo, error) { return info(os.Lstat(name)) }

func info(fi fs.FileInfo, err error) (FileInfo, error) {
	if err != nil {
		return FileInfo{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	return FileInfo{
		Mode: fi.Mode(), UID: int(st.Uid), GID: int(st.Gid), Size: fi.Size(), Blocks: st.Blocks,
		ModTime: fi.ModTime(), Inode: st.Ino, Dev: st.Dev, Links: uint64(st.Nlink),
	}, nil
}

// Readlink is readlink(2).
func (*Local) Readlink(name string) (string, error) { return os.Readlink(name) }

// Statfs gives statfs(2) up at ctx's deadline, for on a mount whose server is dead it does not return.
func (l *Local) Statfs(ctx context.Context, name string) (Statfs, error) {
	return giveUp(ctx, l, "statfs "+name, 0, func() (Statfs, error) {
		var st unix.Statfs_t
		for {
			switch err := unix.Statfs(name, &st); err {
			case nil:
				return statfs(&st), nil
			case unix.EINTR:
			default:
				return Statfs{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
			}
		}
	})
}

// FS_APPEND_FL and FS_IMMUTABLE_FL of the kernel's include/uapi/linux/fs.h.
const appendFlag, immutableFlag = 0x20, 0x10

// Attributes is ioctl_iflags(2).
func (*Local) Attributes(name string) (Attributes, error) {
	fd, err := open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return Attributes{}, err
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	switch {
	case err == nil:
		size, _ := unix.Fgetxattr(fd, "security.capability", nil) // ENODATA where it has none
		return Attributes{Immutable: flags&immutableFlag != 0, AppendOnly: flags&appendFlag != 0, Capabilities: size > 0, ACL: accessList(fd)}, nil
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP):
		err = ErrUnsupported
	}
	return Attributes{}, &fs.PathError{Op: "attributes of", Path: name, Err: err}
}

// accessList reads struct posix_acl_xattr_header and its entries of linux/posix_acl_xattr.h: a version, then tag, permissions and id of each.
func accessList(fd int) string {
	const header, entry, maxEntries = 4, 8, 32
	tags := map[uint16]string{0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
	buf := make([]byte, header+maxEntries*entry)
	n, err := unix.Fgetxattr(fd, "system.posix_acl_access", buf)
	if err != nil { // ENODATA: it has none; ERANGE: more entries than one can read
		return ""
	}
	var list []string
	for b := buf[min(header, n):n]; len(b) >= entry; b = b[entry:] {
		tag, perm := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
		id := ""
		switch tag {
		case 0x01, 0x20: // the owner's and others' are the mode's
			continue
		case 0x02, 0x08:
			id = strconv.Itoa(int(binary.LittleEndian.Uint32(b[4:])))
		}
		bits := []byte("rwx")
		for i := range bits {
			if perm&(4>>i) == 0 {
				bits[i] = '-'
			}
		}
		list = append(list, tags[tag]+":"+id+":"+string(bits))
	}
	return strings.Join(list, ",")
}

// Beneath asks open_tree(2) for a copy of the mount that holds the mount point, without the mounts on it. The copy belongs to a descriptor, is in
// nobody's mount table, and is gone when that is closed. Linux has it since 5.2, for root.
func (*Local) Beneath(name string) (Beneath, error) {
	fail := func(op string, err error) (Beneath, error) {
		switch {
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
			err = ErrUnsupported
		}
		return Beneath{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, path.Dir(name), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_NO_AUTOMOUNT)
	if err != nil {
		return fail("open_tree", err)
	}
	defer unix.Close(tree)
	open := func(flags int) (*os.File, error) {
		fd, err := unix.Openat(tree, path.Base(name), flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return os.NewFile(uintptr(fd), name), err
	}
	point, err := open(unix.O_PATH)
	if err != nil {
		return fail("open beneath", err)
	}
	defer point.Close()
	fi, err := point.Stat()
	if err != nil {
		return fail("stat beneath", err)
	}
	b := Beneath{Mode: fi.Mode(), Size: fi.Size()}
	if !b.Mode.IsDir() {
		return b, nil
	}
	dir, err := open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return fail("open beneath", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(MaxBeneath)
	if err != nil && !errors.Is(err, io.EOF) {
		return fail("list beneath", err)
	}
	slices.Sort(names)
	b.Entries = names
	return b, nil
}

// MD5 reads a file piece by piece.
func (*Local) MD5(name string) (string, error) {
	fd, err := open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	sum := md5.New()
	p := buffers.Get().(*[]byte)
	defer buffers.Put(p)
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{io.LimitReader(f, MaxFile+1)}, *p)
	if err == nil && n > MaxFile {
		err = &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

func statfs(st *unix.Statfs_t) Statfs {
	size := uint64(st.Frsize) // f_frsize, not f_bsize, is the unit of the counts: statfs(2)
	if size == 0 {
		size = uint64(st.Bsize)
	}
	return Statfs{
		Type: int64(st.Type), Size: st.Blocks * size, Free: st.Bfree * size, Avail: st.Bavail * size,
		Files: st.Files, FilesFree: st.Ffree, ReadOnly: st.Flags&unix.ST_RDONLY != 0,
	}
}

// Clock asks adjtimex(2), which anyone may as long as nothing is to be changed.
func (*Local) Clock() (Clock, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil { // the clock's state in the return value repeats what Status says
		return Clock{}, fmt.Errorf("adjtimex: %w", err)
	}
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	return Clock{
		Synchronised: t.Status&unix.STA_UNSYNC == 0, Offset: time.Duration(t.Offset) * unit,
		MaxError: time.Duration(t.Maxerror) * time.Microsecond, EstError: time.Duration(t.Esterror) * time.Microsecond,
	}, nil
}

// lookPath finds an allowed program in the fixed PATH. /usr/local is not in it: what an administrator dropped there
// is not what the package's own tools run.
func lookPath(program string) (string, error) {
	for dir := range strings.SplitSeq(commandPath, ":") {
		name := dir + "/" + program
		if fi, err := os.Stat(name); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return name, nil
		}
	}
	return "", &fs.PathError{Op: "run", Path: program, Err: fs.ErrNotExist}
}
