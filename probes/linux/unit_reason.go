package linux

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/probes"
)

// reasonOfStatus is what the service manager itself says of a unit that did not end well: the exit statuses that it sets before it runs
// the program (systemd.exec(5), "Process exit codes"), and the kinds of result that name a reason.
func reasonOfStatus(p map[string]string) string {
	if p["ExecMainCode"] == "1" && p["Result"] == "exit-code" {
		if reason := reasonOfManager(p["ExecMainStatus"]); reason != "" {
			return reason
		}
	}
	switch p["Result"] {
	case "oom-kill", "watchdog", "timeout":
		return p["Result"]
	case "start-limit-hit":
		return "start-limit"
	}
	return ""
}

// reasonOfManager is what an exit status says that the service manager set before it ran the program.
func reasonOfManager(status string) string {
	switch status {
	case "200":
		return "directory-missing"
	case "203":
		return "program-missing"
	case "216", "217":
		return "user-missing"
	case "226":
		return "namespace"
	}
	return ""
}

type sign struct {
	reason string
	line   *regexp.Regexp
}

// signs are the lines by which a log tells why a program ended; of one line the first sign counts. They are what the C library, the dynamic
// linker and the usual languages' runtimes and databases print.
var signs = []sign{
	{"library-missing", regexp.MustCompile(`error while loading shared libraries: |: version .?GLIBC[A-Z_]*_[\d.]+.? not found|ld\.so: .* not found`)},
	{"environment-missing", regexp.MustCompile(`Failed to load environment files: `)},
	{"user-missing", regexp.MustCompile(`Failed to determine (?:user|group) credentials|Failed at step (?:USER|GROUP) spawning`)},
	{"user-missing", regexp.MustCompile(`(?i)\b(?:could not|cannot|can't|unable to|failed to) (?:get|find|resolve|look ?up) (?:the )?(?:user|group|uid|gid)\b|getpwnam\(|getgrnam\(|can't change to run as user|chown: invalid (?:user|group)|sudo: unknown user|\bsu: user \S+ does not exist|runuser: user \S+ does not exist`)},
	{"directory-missing", regexp.MustCompile(`Changing to the requested working directory failed|Failed at step CHDIR spawning`)},
	{"namespace", regexp.MustCompile(`Failed at step NAMESPACE spawning|Failed to set up mount namespacing`)},
	{"host-key-changed", regexp.MustCompile(`REMOTE HOST IDENTIFICATION HAS CHANGED|Offending \S+ key in |host key for \S+ has changed`)},
	{"key-too-open", regexp.MustCompile(`UNPROTECTED PRIVATE KEY FILE|Bad owner or permissions on|Permissions \d+ for '[^']+' are too open|(?:bad permissions|private key will be ignored)`)},
	{"permission-denied", regexp.MustCompile(`(?:Failed to (?:locate executable|execute)|Failed at step EXEC spawning) .*Permission denied`)},
	{"program-unusable", regexp.MustCompile(`(?:Failed to execute|Failed at step EXEC spawning) .*Exec format error|\$'\\r': command not found|(?:\\r|\r|\^M)['’]?: (?:No such file|command not found|not found|bad interpreter)`)},
	{"program-missing", regexp.MustCompile(`Failed to (?:locate executable|execute) .*No such file|Failed at step EXEC spawning .*No such file`)},
	{"port-taken", regexp.MustCompile(`(?i)address (?:already|is already) in use|EADDRINUSE|only one usage of each socket address|port \d+ (?:is )?(?:already )?(?:in use|allocated)`)},
	{"address-missing", regexp.MustCompile(`(?i)cannot assign requested address|can't assign requested address|EADDRNOTAVAIL|could not bind to address`)},
	{"disk-full", regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|ENOSPC`)},
	{"read-only", regexp.MustCompile(`(?i)read-only file system|EROFS`)},
	{"data-damaged", regexp.MustCompile(`(?i)could not locate a valid checkpoint|invalid (?:primary )?checkpoint record|database files are incompatible|wrong signature trying to load DB|bad file format reading the append only|(?:unknown command .*|unrecoverable error) reading the append only|AOF manifest|unexpected EOF reading RDB|can't handle RDB format version|unsupported redo log format|upgrade after a crash is not supported|data directory was initialized by|(?:created|written|initialized) by a (?:newer|later|future) |downgrade (?:is )?not supported|(?:unsupported|incompatible|unknown) (?:data|database|file|storage|schema|on-disk)[ -]?(?:format|version)|(?:short read|unexpected end of file|internal error) .*(?:RDB|loading DB)|InnoDB: .*(?:corrupt|damaged|missing)|database disk image is malformed|checksum (?:mismatch|failed|error)|\bcorrupt(?:ed|ion)?\b`)},
	{"library-missing", regexp.MustCompile(`ModuleNotFoundError|No module named |Can't locate \S+\.pm in @INC|(?i)cannot find module |cannot load such file|could not find or load main class|NoClassDefFoundError|unable to load dynamic library|cannot open shared object file|failed opening required`)},
	{"permission-denied", regexp.MustCompile(`(?i)(?:can't|cannot|could not|unable to|failed to) (?:open|read|load|access)\b.*permission denied`)}, // before what is wrong in it
	{"file-missing", regexp.MustCompile(`\[emerg\] .*\(\) "[^"]+" failed \(2: [^)]*\)$`)},                                                          // nginx's own files; what its configuration names has "in FILE:LINE" behind it
	{"permission-denied", regexp.MustCompile(`\[emerg\] .*\(\) "[^"]+" failed \(13: [^)]*\)$`)},
	{"config-invalid", regexp.MustCompile(`(?i:environment variables?|env(?:ironment)? vars?)\b.*(?i:not set|missing|required|undefined|unset|empty|not found|must be)|(?i:missing|required|undefined|unset|not set|must set|please set|set the)\b.*(?i:environment variable|env(?:ironment)? var)|\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b['"]?:? (?:variable )?(?i:is |are )?(?i:not set|unset|not defined|undefined|missing|required|empty|must be set|unbound variable|parameter (?:null or )?not set)|KeyError: ['"][A-Z][A-Z0-9_]+['"]|(?i:missing|required|undefined|unset)\b[^/]{0,30}\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b|: unbound variable|: parameter (?:null or )?not set`)},
	{"config-invalid", regexp.MustCompile(`(?i)syntax error|SyntaxError|configuration file .* test failed|\[emerg\] .* in /|unknown (?:configuration )?(?:directive|variable|option|keyword)|unrecognized configuration parameter|unexpected (?:token|end of file|character)|bad configuration|invalid (?:configuration|command|value for parameter) |error(?:\(s\))? found in configuration|fatal (?:config|error, can't open config)|(?:bad|invalid) directive|invalid syntax (?:at|on|in) |could not parse |parse ?error|config(?:uration)? file (?:line|error)|invalid line \d+ in /|(?:unable|failed) to (?:configure|parse|load|read) .*config|both as a flag and in the configuration file|configuration file .* contains errors|\bline \d+ of configuration file |unsupported (?:option|directive)|unrecognized (?:option|argument)`)},
	{"config-invalid", regexp.MustCompile(`\[emerg\] (?:\d+#\d+: )?|unable to configure |invalid character .+ (?:looking for|in (?:string|literal)|after)|cannot unmarshal |JSONDecodeError|yaml: (?:line|unmarshal)|YAMLError|toml: |bad JSON`)},
	{"certificate-refused", regexp.MustCompile(`(?i)SSL certificate problem|certificate[ _]verify[ _]failed|certificate verification failed|x509: certificate|unable to (?:get|verify) .*(?:certificate|issuer)|self[- ]signed certificate|certificate (?:has|is) (?:expired|not yet valid)|PKIX path building failed|no alternative certificate subject name|certificate is not trusted`)},
	{"access-refused", regexp.MustCompile(`(?i)password authentication failed|no pg_hba\.conf entry|access denied for user|NOAUTH |WRONGPASS |authentication failed|invalid password`)},
	{"name-unresolved", regexp.MustCompile(`(?i)name or service not known|temporary failure in name resolution|no address associated with hostname|no such host|could not resolve host|getaddrinfo|EAI_AGAIN|(?-i:ENOTFOUND)|UnknownHostException|unknown (?:mysql |mariadb )?server host|host not found in upstream`)},
	{"limit-reached", regexp.MustCompile(`(?i)too many open files|insufficient file descriptors|no file descriptors available|cannot (?:raise|increase) (?:the )?(?:FD|file|open files) limit|EMFILE|cannot allocate memory|ENOMEM|std::bad_alloc|OutOfMemoryError|MemoryError|out of memory|max virtual memory areas|can't start new thread|unable to create (?:native )?thread|pthread_create|resource temporarily unavailable|fork: retry|argument list too long|E2BIG|too many links|EMLINK|file name too long|ENAMETOOLONG|too many levels of symbolic links|ELOOP|file too large|EFBIG|file size limit exceeded|no locks available|ENOLCK`)},
	{"host-key-unknown", regexp.MustCompile(`(?i)host key verification failed|authenticity of host .* can't be established|no \S+ host key is known for`)},
	{"key-refused", regexp.MustCompile(`(?i)permission denied \((?:publickey|password|keyboard|gssapi)|load key "[^"]+": |no such identity: |too many authentication failures`)},
	{"permission-denied", regexp.MustCompile(`(?i)permission denied|EACCES|EPERM\b|has (?:invalid|group or world) (?:permissions|access)|has wrong ownership|must be writable|not have the access rights|system error number 13\b|operation not permitted|AccessDeniedException: /|can't cd to /|address family not supported`)},
	{"file-missing", regexp.MustCompile(`InnoDB: The first data file '.+' did not exist|\bFile "\S+" is missing`)},
	{"file-missing", regexp.MustCompile(`(?i)no such file or directory|ENOENT|FileNotFound|file not found|cannot find file|(?:^|[\s"'])/\S+ does not exist|\b(?:file|directory) [^:]{1,80} does not exist|command not found|^\S+: (?:line )?\d+: .*: not found`)},
	{"dependency-refused", regexp.MustCompile(`(?i)connection refused|ECONNREFUSED|(?:could not|couldn't|failed to|unable to) connect to|can't connect to|connection timed out|ETIMEDOUT|no route to host|network is unreachable|EHOSTUNREACH|ENETUNREACH`)},
}

// harmless are lines that look like a sign and are none: what a program goes on without, cleans up on its way out, or is refused by a server.
var harmless = regexp.MustCompile(`(?i)can't open PID file|using (?:the )?defaults?|ignor(?:ed|ing)|skipp(?:ed|ing)|continuing|\boptional|\bunlink|\bremov(?:e|ing)|` +
	`permission denied (?:for (?:table|relation|schema|database|sequence|function|view|column|language)|, please)|\b(?:HTTP|status)\S*[ :=]+40[134]\b`)

// refusedAddress is what nginx -t says before "configuration file … test failed" when there is nothing wrong with that file, for it tries
// the addresses too.
var refusedAddress = regexp.MustCompile(`\[emerg\] bind\(\) to \S+ failed`)

// ofManager is how many of the signs are the linker's, the service manager's and ssh's own words, which are surer than a program's.
const ofManager = 11

// limitOfSignal says what the signals mean that the kernel sends at a limit.
var limitOfSignal = map[string]string{
	"XFSZ": "it was ended by SIGXFSZ: a file that it writes would grow beyond LimitFSIZE=",
	"XCPU": "it was ended by SIGXCPU: it has used the CPU time that LimitCPU= gives it",
}

// explain finds the reason in the log of the unit's last runs. The service manager's words come first, then the last line of the program's
// that says something: what it said before it did survive. 203 alone does not tell a missing program from one that may not be run.
func (u *unitFacts) explain(log string) {
	if u.Signal == "XFSZ" || u.Signal == "XCPU" { // the kernel itself says which limit it was: setrlimit(2)
		u.Reason, u.Sign = "limit-reached", limitOfSignal[u.Signal]
		return
	}
	if u.Signal != "" || u.Result == "core-dump" { // it did not end by itself, and what it said before is another story
		return
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for _, some := range [][]sign{signs[:ofManager], signs[ofManager:]} {
		for at, line := range slices.Backward(lines) {
			if harmless.MatchString(line) || at > 0 && refusedAddress.MatchString(lines[at-1]) && strings.HasSuffix(line, " test failed") {
				continue
			}
			better := u.Sign != "" && strings.Contains(line, "[emerg]") // nginx's own, above "test failed"
			i := slices.IndexFunc(some, func(s sign) bool { return (better || u.mayBe(s.reason)) && s.line.MatchString(line) })
			if i < 0 {
				continue
			}
			if u.Sign != "" && (some[i].reason != u.Reason && !better || inSummary.MatchString(line)) {
				return // before the words that sum it up stands nothing better
			}
			u.Reason, u.Sign = some[i].reason, redactLine(strings.TrimSpace(line))
			if at > 0 && strings.HasPrefix(lines[at-1], ">>> '") { // redis quotes the line of its configuration above the error
				u.Sign = redactLine(strings.TrimPrefix(lines[at-1], ">>> ") + ": " + line)
			}
			if u.Reason == "port-taken" {
				u.Port = portIn(line)
			}
			if !inSummary.MatchString(line) {
				return
			}
		}
		if u.Sign != "" {
			return
		}
	}
}

// inSummary are last words that only say that there were others.
var inSummary = regexp.MustCompile(`(?i)configuration file \S+ test failed|error(?:\(s\)|s)? found in configuration|contains errors$|fatal errors found|terminating, \d+ bad configuration options`)

// mayBe tells whether a reason agrees with what the exit status says.
func (u *unitFacts) mayBe(reason string) bool {
	switch u.Reason {
	case "", "start-limit", reason:
		return true
	case "program-missing":
		return reason == "permission-denied" || reason == "program-unusable"
	case "timeout": // it may have said what it waits for
		return reason == "dependency-refused" || reason == "name-unresolved"
	}
	return false
}

// portNames are the forms in which a port stands in a complaint: 0.0.0.0:80, [::]:80, :::80, *:80, localhost:80, " :80", "port 80". The
// minutes of a time of day are none.
var portNames = regexp.MustCompile(`(?i)(?:\d\.\d+\.\d+\.\d+|\]|\*|localhost|::|\s):(\d{1,5})\b|\bport[:= ]+(\d{1,5})\b`)

func portIn(line string) probes.Opt[int] {
	if m := portNames.FindStringSubmatch(line); m != nil {
		if n, err := strconv.Atoi(m[1] + m[2]); err == nil && n > 0 && n < 1<<16 {
			return probes.Some(n)
		}
	}
	return probes.None[int]()
}

// holderOf names who listens on a TCP port.
func holderOf(ctx context.Context, h host.Host, port int) probes.Opt[string] {
	var inodes []uint32
	err := h.Sockets(ctx, host.SocketQuery{States: 1 << host.TCPListen}, func(s *host.Socket) error {
		if int(s.Local.Port()) == port {
			inodes = append(inodes, s.Inode)
		}
		return nil
	})
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	if len(inodes) == 0 {
		return probes.None[string]()
	}
	owners, err := listenerOwners(ctx, h)
	if err != nil {
		return probes.Unread[string](err.Error())
	}
	for _, inode := range inodes {
		if o, ok := owners[inode]; ok {
			return probes.Some(o.String())
		}
	}
	return probes.Unread[string]("whose the socket is was not found")
}

// halted reports whether a running unit's processes are all stopped, and by what. A unit whose main process is well is: that costs
// one file a unit.
func halted(h host.Files, p map[string]string) string {
	if p["FreezerState"] == "frozen" {
		return "freezer"
	}
	main, err := strconv.Atoi(p["MainPID"])
	if err != nil || main == 0 || !isStopped(h, main) {
		return ""
	}
	for _, pid := range groupProcesses(h, p["ControlGroup"]) {
		if pid != main && !isStopped(h, pid) {
			return ""
		}
	}
	return "signal"
}

func isStopped(h host.Files, pid int) bool {
	line, err := readLine(h, fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	proc, err := parseProcess(line)
	return err == nil && (proc.state == 'T' || proc.state == 't')
}

// groupProcesses lists the processes of a control group, in the unified hierarchy or systemd's own; none if it cannot be read.
func groupProcesses(h host.Files, group string) []int {
	if group == "" {
		return nil
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
		b, err := h.ReadFile(root + group + "/cgroup.procs")
		if err != nil {
			continue
		}
		var pids []int
		for line := range strings.Lines(string(b)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	return nil
}
