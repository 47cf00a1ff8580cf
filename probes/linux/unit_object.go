package linux

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// pathInText is an absolute path as logs name it: in quotes, or between spaces and the usual marks.
var pathInText = regexp.MustCompile(`(?:^|[\s"'\x60\x{2018}=(:,])(/[^\s"'\x60\x{2019}:;,()\[\]]+)`)

// nameObject finds what a reason is about. Of what systemd prepares it says only that it failed, so its settings are compared with what there is.
func (u *unitFacts) nameObject(h host.Files, property func(string) string) {
	switch u.Reason {
	case "environment-missing":
		for word := range strings.FieldsSeq(property("EnvironmentFiles")) { // "/etc/a (ignore_errors=no) /etc/b (ignore_errors=yes)"
			if strings.HasPrefix(word, "/") && gone(h, word) {
				u.Object, u.Detail = word, "EnvironmentFile="+word+" is not there"
				return
			}
		}
	case "directory-missing":
		dir := strings.TrimLeft(property("WorkingDirectory"), "!-")
		if !strings.HasPrefix(dir, "/") {
			return
		}
		u.Object = dir
		switch fi, err := h.Stat(property("RootDirectory") + dir); {
		case err != nil:
			u.Detail = "WorkingDirectory=" + dir + " is not there"
		case !fi.Mode.IsDir():
			u.Detail = "WorkingDirectory=" + dir + " is no directory"
		default:
			u.Detail = "WorkingDirectory=" + dir
			if why := closedTo(h, dir, property("User"), property("Group"), mayEnter); why != "" {
				u.Detail += ": " + why
			}
		}
	case "user-missing":
		for _, kind := range []struct{ setting, file string }{{"User", "/etc/passwd"}, {"Group", "/etc/group"}} {
			name := property(kind.setting)
			if rows, _, err := readColons(h, kind.file, 3); name != "" && err == nil && !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == name || row[2] == name }) {
				u.Object, u.Detail = name, fmt.Sprintf("%s=%s, and %s has none", kind.setting, name, kind.file)
				return
			}
		}
		if m := userInText.FindStringSubmatch(u.Sign); m != nil { // the program's own configuration or command line names it
			u.Object = m[1] + m[2]
		}
	case "library-missing":
		if m := missingLibrary.FindStringSubmatch(u.Sign); m != nil {
			u.Object = m[1]
		}
	case "permission-denied", "read-only", "data-damaged", "file-missing", "config-invalid":
		u.Object = objectIn(u.Sign)
		if m := notFound.FindStringSubmatch(u.Sign); m != nil && u.Reason == "file-missing" {
			u.Object = m[1] + m[2]
		}
		if m := settingsFile.FindString(u.Sign); u.Object == "" && u.Reason == "config-invalid" { // "/root/.ssh/config: line 2: Bad configuration option"
			u.Object = m
		}
		if dir := path.Dir(u.Object); u.Reason == "file-missing" && u.Detail == "" && strings.Count(u.Object, "/") > 1 && gone(h, dir) {
			u.Detail = "its directory " + dir + " is not there either"
		}
		if u.Reason == "permission-denied" && strings.Contains(u.Sign, "can't cd to ") && gone(h, u.Object) { // dash does not say why
			u.Reason = "file-missing"
		}
		if u.Object != "" && u.Reason == "permission-denied" && u.Detail == "" {
			u.Detail = closedTo(h, u.Object, property("User"), property("Group"), mayRead)
			if dir := path.Dir(u.Object); u.Detail == "" && gone(h, u.Object) { // it was to be made
				u.Detail = closedTo(h, dir, property("User"), property("Group"), mayWrite|mayEnter)
			} else if u.Detail == "" {
				u.Detail = closedTo(h, u.Object, property("User"), property("Group"), mayWrite)
			}
			for _, name := range []string{u.Object, path.Dir(u.Object)} {
				if a, err := h.Attributes(name); err == nil && (a.Immutable || a.AppendOnly) {
					u.Detail = name + " is locked against changes (lsattr " + name + ": i or a), also for root"
					break
				}
			}
		}
	}
}

// settingsFile is a file of settings in front of a complaint about it; another path there is the program's own.
var settingsFile = regexp.MustCompile(`^/(?:etc|home|root)/[^\s:]+`)

// userInText is the account that a program says it does not find.
var userInText = regexp.MustCompile(`(?i)(?:user|group|uid|gid)(?: name)?(?:/group)?(?: ID)?(?: for| of)?:? ['"\x60]?([a-z_][\w.-]*)|get(?:pw|gr)nam\(['"]?([\w.-]+)`)

// notFound is how shells name a command that they do not find, and InnoDB its first file.
var (
	notFound = regexp.MustCompile(`(?:^|[: ])([\w./+-]+): (?:command )?not found|InnoDB: The first data file '(.+?)' did not exist`)
	// missingLibrary is a library or module as the dynamic linker, Python, Perl, Node and Ruby name one that they do not find.
	missingLibrary = regexp.MustCompile(`(?:loading shared libraries: |[Nn]o module named ['"]?|Can't locate |[Cc]annot find module ['"]|cannot load such file -- )([^\s'":]+)`)
)

// objectIn is the last path in a complaint that is not that of the program itself, which stands in front.
func objectIn(line string) string {
	all := pathInText.FindAllStringSubmatchIndex(line, -1)
	for _, at := range slices.Backward(all) {
		name := strings.TrimRight(line[at[2]:at[3]], ".")
		if at[2] > 0 && name != "/" && !strings.HasPrefix(name, "//") {
			return path.Clean(name)
		}
	}
	return ""
}
