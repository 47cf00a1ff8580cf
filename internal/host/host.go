// Package host is the only door to the machine. A probe asks its questions of a [Host]; on a live machine [Local] answers
// from the kernel, in a test or a replay hosttest answers from a capture. Answers are plain data, so that every one of them
// can be recorded, redacted, read by a person and played back.
package host

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"time"
)

// A Host answers questions about one machine. Methods are safe for concurrent use.
//
// File methods take absolute slash-separated paths and return errors that satisfy errors.Is for fs.ErrNotExist,
// fs.ErrPermission and ErrTooLarge. They cannot be cancelled (a read from a dead NFS server sits in the kernel); the
// probes' runner abandons them. Statfs, which hangs most often, has a deadline of its own.
type Host interface {
	Files
	Keys
	Commands
	Kernel
	Network
	Services

	// Check asks what an operator declared for his own hosts.
	Check(ctx context.Context, c Check) (CheckAnswer, error)
	// Now is the machine's wall clock; in a capture, the time of the capture.
	Now() time.Time
	// Sleep lets time pass until ctx ends; in a capture it moves Now, and what was read at that later time is answered.
	Sleep(ctx context.Context, d time.Duration) error
	// Can reports what this process may do on this machine.
	Can() Capabilities
}

// Capabilities says what a process may do, so that a probe is skipped with a reason instead of failing halfway.
type Capabilities struct {
	Root    bool // effective uid 0: may read shadow, other users' /proc entries, raw sockets
	Network bool // may send packets; false with --no-network
}

// Files reads the file system.
type Files interface {
	// ReadFile returns the whole file, at most MaxFile bytes; a longer one is ErrTooLarge.
	ReadFile(name string) ([]byte, error)
	// ReadTail returns the last max bytes of a file: for logs.
	ReadTail(name string, max int) ([]byte, error)
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]DirEntry, error)
	Stat(name string) (FileInfo, error)
	Lstat(name string) (FileInfo, error)
	Readlink(name string) (string, error)
	// Statfs is statfs(2) given up at ctx's deadline: the answer for a mount whose server is dead is
	// context.DeadlineExceeded.
	Statfs(ctx context.Context, name string) (Statfs, error)
	// Attributes are what chattr(1) sets; ErrUnsupported where the file system has none. It follows no symbolic link.
	Attributes(name string) (Attributes, error)
	// Beneath looks at what a mount point was before something was mounted on it, without unmounting anything; ErrUnsupported where the
	// kernel or a container does not let it.
	Beneath(name string) (Beneath, error)
	// MD5 is the digest of a file's content, at most MaxFile bytes, in hexadecimal: what dpkg keeps of each file of a package. So a
	// capture holds the digest and not the program.
	MD5(name string) (string, error)
}

// Keys looks at certificates and their private keys, of which nothing is told but whether they belong together.
type Keys interface {
	// ReadCertificate reads the first certificate of a PEM file, and whether the private key in the file key, unless that is empty, is its own.
	ReadCertificate(name, key string) (KeyPair, error)
}

// KeyPair is what there is to know of an X.509 certificate and its key.
type KeyPair struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names,omitempty"` // DNS names that it is for
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key,omitempty"` // "matches", "differs"; empty if it was not asked for, or is encrypted or of a kind that is not known
}

// MaxFile is the most that ReadFile returns: larger than any file under /proc or /etc that a probe reads
// (a maps file of a big JVM is 2 MiB, that of a process with as many mappings as it may have 6.5), and an end to a file that has none.
const MaxFile = 8 << 20

// Errors that callers tell apart. Missing files and denied permissions are fs.ErrNotExist and fs.ErrPermission.
var (
	ErrTooLarge   = errors.New("larger than the read limit")
	ErrNotAllowed = errors.New("not on the list of allowed commands")
	// ErrNotCaptured is what a replay answers when nobody asked this question when it was recorded.
	ErrNotCaptured = errors.New("not in the capture")
	// ErrInterrupted comes after the last row of a list that changed while it was read: rows may be missing, or there twice.
	ErrInterrupted = errors.New("changed while it was read")
	// ErrUnsupported is for a question that this kernel cannot answer.
	ErrUnsupported = errors.New("not supported by this kernel")
)

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string      `json:"name"`
	Type fs.FileMode `json:"type,omitempty"` // type bits only
}

// FileInfo is what stat(2) says.
type FileInfo struct {
	Mode    fs.FileMode `json:"mode"` // type and permission bits, setuid, setgid, sticky
	UID     int         `json:"uid"`
	GID     int         `json:"gid"`
	Size    int64       `json:"size"`   // bytes
	Blocks  int64       `json:"blocks"` // of 512 bytes
	ModTime time.Time   `json:"mtime"`
	Inode   uint64      `json:"ino"`
	Dev     uint64      `json:"dev"`
	Links   uint64      `json:"nlink"`
}

// Attributes are the flags of FS_IOC_GETFLAGS that keep even root from changing a file; ioctl_iflags(2).
type Attributes struct {
	Immutable  bool `json:"immutable"`
	AppendOnly bool `json:"append_only"`
	// Capabilities: the program has some of its own (setcap(8)), whichever they are.
	Capabilities bool `json:"capabilities,omitempty"`
	// ACL is the access list of acl(5) in the short form of getfacl(1) with numbers, "user:33:---,mask::r-x": the entries that a mode does
	// not tell. Empty where there is none.
	ACL string `json:"acl,omitempty"`
}

// Beneath is a file or directory that a mount hides.
type Beneath struct {
	Mode    fs.FileMode `json:"mode"`
	Size    int64       `json:"size"`              // bytes
	Entries []string    `json:"entries,omitempty"` // of a directory: what it holds, sorted, the first MaxBeneath of it
}

// MaxBeneath is how many names Beneath tells: enough to see whose a directory is.
const MaxBeneath = 20

// Statfs is what statfs(2) says of the file system that holds a path. Sizes in bytes.
type Statfs struct {
	Type      int64  `json:"type"` // magic number
	Size      uint64 `json:"size"`
	Free      uint64 `json:"free"`  // for root
	Avail     uint64 `json:"avail"` // for everybody else
	Files     uint64 `json:"files"` // inodes in all; 0 where the file system has no fixed number
	FilesFree uint64 `json:"files_free"`
	ReadOnly  bool   `json:"read_only"`
}

// Commands runs programs.
type Commands interface {
	// Run starts a program of the allow-list by argument vector, without a shell, with a fixed PATH and a scrubbed
	// environment, and waits for it. A program that ran and failed is an Output with Exit != 0 and no error. An error means that it
	// did not run to its end: fs.ErrNotExist (not installed), ErrNotAllowed, ErrTooLarge, context.DeadlineExceeded.
	Run(ctx context.Context, argv ...string) (Output, error)
}

// Output is what a program said.
type Output struct {
	Stdout []byte
	Stderr []byte
	Exit   int // exit status; 128 + signal if it was killed
}

// Kernel dumps what netlink knows, and tells the clock's state and what the kernel runs on. Methods with a callback are for lists that grow with the host: the value passed to
// it is reused, so it must be copied to be kept. A callback's error ends the dump and is returned.
type Kernel interface {
	Links(ctx context.Context) ([]Link, error)
	Addrs(ctx context.Context) ([]Addr, error)
	Routes(ctx context.Context, each func(*Route) error) error
	Rules(ctx context.Context) ([]Rule, error)
	Neighbours(ctx context.Context, each func(*Neighbour) error) error
	Qdiscs(ctx context.Context) ([]Qdisc, error)
	Sockets(ctx context.Context, q SocketQuery, each func(*Socket) error) error
	// Clock is the state of the kernel's clock, which whatever program disciplines it keeps up to date.
	Clock() (Clock, error)
	// Machine says whether this is a virtual machine or a container, and of what kind, as far as their traces tell.
	Machine(ctx context.Context) (Machine, error)
}

// Clock is what adjtimex(2) says.
type Clock struct {
	Synchronised bool          `json:"synchronised"`     // STA_UNSYNC is off
	Offset       time.Duration `json:"offset,omitempty"` // that the kernel is still working off
	MaxError     time.Duration `json:"max_error"`        // grows by 0.5 ms a second while nobody updates it; 16 s means that it is not known
	EstError     time.Duration `json:"est_error,omitempty"`
}

// Link is a network interface.
type Link struct {
	Index     int    `json:"index"`
	Name      string `json:"name"`
	Kind      string `json:"kind,omitempty"`   // "bridge", "veth", "vlan", …; empty for hardware
	Driver    string `json:"driver,omitempty"` // "virtio_net"
	MAC       string `json:"mac,omitempty"`
	MTU       int    `json:"mtu"`
	Master    int    `json:"master,omitempty"` // index of the bridge or bond it belongs to
	Flags     uint32 `json:"flags"`            // IFF_*
	OperState string `json:"oper"`             // "up", "down", "unknown", …
	TxQueues  int    `json:"tx_queues,omitempty"`
	RxQueues  int    `json:"rx_queues,omitempty"`
	// QueuesMax and Queues are ethtool's combined channels; 0 where the driver has none.
	QueuesMax int       `json:"queues_max,omitempty"`
	Queues    int       `json:"queues,omitempty"`
	SpeedMbit int       `json:"speed_mbit,omitempty"` // 0: unknown, as for most virtual NICs
	Stats     LinkStats `json:"stats"`
}

// LinkStats are struct rtnl_link_stats64, counters since the interface was made.
type LinkStats struct {
	RxBytes     uint64 `json:"rx_bytes"`
	TxBytes     uint64 `json:"tx_bytes"`
	RxPackets   uint64 `json:"rx_packets"`
	TxPackets   uint64 `json:"tx_packets"`
	RxErrors    uint64 `json:"rx_errors"`
	TxErrors    uint64 `json:"tx_errors"`
	RxDropped   uint64 `json:"rx_dropped"`
	TxDropped   uint64 `json:"tx_dropped"`
	RxMissed    uint64 `json:"rx_missed"`
	RxFIFO      uint64 `json:"rx_fifo"`
	TxFIFO      uint64 `json:"tx_fifo"`
	TxCarrier   uint64 `json:"tx_carrier"`
	Collisions  uint64 `json:"collisions"`
	RxNoHandler uint64 `json:"rx_nohandler"`
}

// Addr is an address on an interface.
type Addr struct {
	Link   int          `json:"link"`
	Prefix netip.Prefix `json:"prefix"` // the address with its prefix length, host bits kept
	Scope  string       `json:"scope"`  // "global", "site", "link", "host"
	Flags  uint32       `json:"flags"`  // IFA_F_*
	// ValidFor is how long a leased address still holds; 0 means forever.
	ValidFor time.Duration `json:"valid_for,omitempty"`
}

// Route is a row of a routing table.
type Route struct {
	Dst      netip.Prefix `json:"dst"` // 0.0.0.0/0 or ::/0 for the default route
	Src      netip.Prefix `json:"src,omitzero"`
	PrefSrc  netip.Addr   `json:"prefsrc,omitzero"`
	Gateway  netip.Addr   `json:"gw,omitzero"`
	Link     int          `json:"link,omitempty"`     // output interface; 0 for unreachable, …; of several next hops, Gateway and Link are the first's
	Table    int          `json:"table"`              // 254 main, 255 local
	Type     string       `json:"type"`               // "unicast", "local", "blackhole", "unreachable", "prohibit", …
	Protocol string       `json:"protocol,omitempty"` // "kernel", "boot", "static", "dhcp", …
	Scope    string       `json:"scope,omitempty"`
	Metric   int          `json:"metric,omitempty"`
	MTU      int          `json:"mtu,omitempty"`
	Dead     bool         `json:"dead,omitempty"`     // RTNH_F_DEAD or LINKDOWN, on every next hop
	NextHops int          `json:"nexthops,omitempty"` // 0: a single one
}

// Rule is a policy-routing rule.
type Rule struct {
	Family   int          `json:"family"` // 4 or 6
	Priority int          `json:"priority"`
	Src      netip.Prefix `json:"src,omitzero"`
	Dst      netip.Prefix `json:"dst,omitzero"`
	IifName  string       `json:"iif,omitempty"`
	OifName  string       `json:"oif,omitempty"`
	Mark     uint32       `json:"mark,omitempty"`
	Mask     uint32       `json:"mask,omitempty"`
	Invert   bool         `json:"invert,omitempty"`
	Table    int          `json:"table,omitempty"`
	Action   string       `json:"action"` // "lookup", "goto", "blackhole", "unreachable", "prohibit"
}

// Neighbour is a row of the ARP or NDP table.
type Neighbour struct {
	Link  int        `json:"link"`
	IP    netip.Addr `json:"ip"`
	MAC   string     `json:"mac,omitempty"`
	State string     `json:"state"` // "reachable", "stale", "failed", "incomplete", "permanent", …
}

// Qdisc is a queueing discipline.
type Qdisc struct {
	Link       int    `json:"link"`
	Kind       string `json:"kind"`   // "fq_codel", "netem", "tbf", …
	Parent     string `json:"parent"` // "root", "ingress", "1:2"
	Handle     string `json:"handle"`
	Packets    uint64 `json:"packets"`
	Drops      uint64 `json:"drops"`
	Overlimits uint64 `json:"overlimits"`
	Backlog    uint64 `json:"backlog"`           // bytes queued now
	Options    string `json:"options,omitempty"` // what is worth telling: netem's delay and loss, tbf's rate
}

// SocketQuery selects sockets in the kernel, before they are copied.
type SocketQuery struct {
	UDP    bool   // TCP otherwise
	States uint32 // bit 1<<state; 0 means all
}

// TCP states as in include/net/tcp_states.h.
const (
	TCPEstablished = iota + 1
	TCPSynSent
	TCPSynRecv
	TCPFinWait1
	TCPFinWait2
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPClosing
	TCPNewSynRecv
)

// Socket is one row of an INET_DIAG dump. Addresses of IPv4 sockets are IPv4; of an IPv6 socket that serves IPv4 too,
// V4Mapped peers are unmapped.
type Socket struct {
	State  uint8          `json:"state"`
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	RQueue uint32         `json:"rq"` // bytes unread; of a listener, connections waiting for accept
	WQueue uint32         `json:"wq"` // bytes unsent; of a listener, the backlog's limit
	UID    uint32         `json:"uid"`
	Inode  uint32         `json:"ino"`
	V6     bool           `json:"v6,omitempty"`
	V6Only bool           `json:"v6only,omitempty"`
	Drops  uint32         `json:"drops,omitempty"` // datagrams dropped, UDP
}

// Network asks the network. Every method sends packets from the machine, waits at most until ctx's deadline, and reports
// silence as context.DeadlineExceeded, refusal as syscall.ECONNREFUSED, no route as syscall.ENETUNREACH or EHOSTUNREACH.
type Network interface {
	// Ping sends one ICMP echo and waits for its reply.
	Ping(ctx context.Context, p Ping) (Pong, error)
	// Connect opens and closes a TCP connection and returns how long the opening took.
	Connect(ctx context.Context, address netip.AddrPort) (time.Duration, error)
	// Get fetches a URL on an address literal, without proxy, cookies or redirects; at most 64 KiB of body.
	Get(ctx context.Context, url string, header map[string]string) (HTTPAnswer, error)
	// Query asks one DNS server over UDP, falling back to TCP when the answer is truncated.
	Query(ctx context.Context, q DNSQuery) (DNSAnswer, error)
	// SNTP asks one NTP server.
	SNTP(ctx context.Context, server string) (SNTPAnswer, error)
	// RouteTo says how the kernel would send a packet to dst now (RTM_GETROUTE); it sends none.
	RouteTo(ctx context.Context, dst netip.Addr) (Route, error)
}

// Services asks the programs that serve on this very machine. Nothing leaves it, so they may be asked without the network too.
type Services interface {
	// Exchange opens a connection, says what is to be said and listens until the service closes it, until an answer's end was
	// seen, or until ctx's deadline. Silence is context.DeadlineExceeded, refusal is syscall.ECONNREFUSED.
	Exchange(ctx context.Context, q Question) (Reply, error)
}

// Question is a harmless one: a greeting that the service's own health checks use. Whoever asks names no account and no password.
type Question struct {
	Socket string // the path of a Unix socket, or a loopback address with its port
	Say    string // empty for a service that speaks first
	// UntilClose waits for the service to close the connection; otherwise the first that it says is the answer.
	UntilClose bool
}

// Reply is what a service said.
type Reply struct {
	Text string        `json:"text"` // at most 64 KiB of it; what is not UTF-8 is U+FFFD
	Took time.Duration `json:"took"` // until the last of it was there
}

// Ping is an ICMP echo request.
type Ping struct {
	Dst  netip.Addr `json:"dst"`
	Size int        `json:"size,omitempty"` // of the whole IP packet; 0 means 56 bytes of payload
	DF   bool       `json:"df,omitempty"`   // don't fragment
}

// Pong is its answer.
type Pong struct {
	RTT time.Duration `json:"rtt"`
	// TooBig is the next hop's MTU when a router or the local interface said that the packet does not fit.
	TooBig int `json:"too_big,omitempty"`
}

// HTTPAnswer is an HTTP response.
type HTTPAnswer struct {
	Status int           `json:"status"`
	Body   string        `json:"body"`
	Took   time.Duration `json:"took"`
}

// DNSQuery is one question to one server.
type DNSQuery struct {
	Server netip.AddrPort `json:"server"`
	Name   string         `json:"name"` // fully qualified, with the final dot
	Type   string         `json:"type"` // "A", "AAAA", "PTR"

	// Again counts how often the same was asked before, where each answer counts: a recording keeps them apart.
	Again int `json:"again,omitempty"`
}

// DNSAnswer is what the server said.
type DNSAnswer struct {
	RCode     string        `json:"rcode"` // "NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED"
	Answers   []string      `json:"answers,omitempty"`
	RTT       time.Duration `json:"rtt"`
	Truncated bool          `json:"truncated,omitempty"` // it had to be asked again over TCP
}

// SNTPAnswer is what a time server said.
type SNTPAnswer struct {
	Offset  time.Duration `json:"offset"` // what must be added to the local clock
	RTT     time.Duration `json:"rtt"`
	Stratum int           `json:"stratum"` // 0: kiss of death; 16: unsynchronised
}
