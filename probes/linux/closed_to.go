package linux

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hostmend/hostmend/internal/host"
)

// What a user wants of a file; the bits are those of a mode.
const (
	mayEnter fs.FileMode = 0o1
	mayWrite fs.FileMode = 0o2
	mayRead  fs.FileMode = 0o4
)

// closedTo says what keeps a user from a file: the first directory on the way that he may not enter, or the file itself. Empty if nothing is
// seen, or if user is root. group is the one that takes the place of the account's own; it may be empty. What is missing closes nothing.
func closedTo(h host.Files, name, user, group string, want fs.FileMode) string {
	who, ok := identify(h, user, group)
	if !ok || who.uid == 0 || !strings.HasPrefix(name, "/") {
		return ""
	}
	way := []string{}
	for at := path.Clean(name); ; at = path.Dir(at) {
		way = append(way, at)
		if at == "/" {
			break
		}
	}
	for _, at := range slices.Backward(way) {
		need := mayEnter
		if at == way[0] {
			need = want
		}
		fi, err := h.Stat(at)
		if err != nil {
			return ""
		}
		if at == way[0] && want == mayRead && fi.Mode.IsDir() {
			need |= mayEnter
		}
		acl := ""
		if a, err := h.Attributes(at); err == nil {
			acl = a.ACL
		}
		if says, closed := who.shutOut(&fi, acl, need); closed {
			return at + " " + says
		}
	}
	return ""
}

type unixUser struct {
	name string
	uid  int
	gids []int
}

// linkToNowhere is the last symbolic link on the way to a file that leads to something which is not there.
func linkToNowhere(h host.Files, name string) (link, target string) {
	if isThere(h, name) {
		return "", ""
	}
	for at := path.Clean(name); at != "/" && at != "."; at = path.Dir(at) {
		if fi, err := h.Lstat(at); err == nil {
			if fi.Mode.Type() != fs.ModeSymlink || isThere(h, at) {
				return "", ""
			}
			target, err = h.Readlink(at)
			if err != nil {
				return "", ""
			}
			return at, target
		}
	}
	return "", ""
}

// identify looks a user up by his name or number.
func identify(h host.Files, user, group string) (unixUser, bool) {
	users, _, err := readColons(h, "/etc/passwd", 7)
	groups, _, groupErr := readColons(h, "/etc/group", 4)
	if err != nil || groupErr != nil {
		return unixUser{}, false
	}
	i := slices.IndexFunc(users, func(row []string) bool { return row[pwName] == user || row[pwUID] == user })
	if i < 0 {
		return unixUser{}, false
	}
	uid, err := strconv.Atoi(users[i][pwUID])
	who := unixUser{name: users[i][pwName], uid: uid}
	own := users[i][pwGID]
	for _, g := range groups {
		member := g[2] == own && group == "" || group != "" && (g[0] == group || g[2] == group) || slices.Contains(strings.Split(g[3], ","), who.name)
		if gid, err := strconv.Atoi(g[2]); member && err == nil {
			who.gids = append(who.gids, gid)
		}
	}
	return who, err == nil
}

// shutOut applies acl(5): the owner's entry, else the one for the user, else those of his groups, else that of others.
func (w *unixUser) shutOut(fi *host.FileInfo, acl string, need fs.FileMode) (says string, closed bool) {
	mode := fmt.Sprintf("has mode %s, belongs to %d:%d, and %s (%d) is not let in", octal(fi.Mode), fi.UID, fi.GID, w.name, w.uid)
	perm := fi.Mode.Perm()
	switch {
	case fi.UID == w.uid:
		return mode, perm>>6&need != need
	case acl == "" && slices.Contains(w.gids, fi.GID):
		return mode, perm>>3&need != need
	case acl == "":
		return mode, perm&need != need
	}
	says = fmt.Sprintf("has an access list (%s) that does not let %s in", acl, w.name)
	mask, inGroup := fs.FileMode(0o7), false
	entries := strings.Split(acl, ",")
	for _, e := range entries {
		if kind, _, bits, ok := aclEntry(e); ok && kind == "mask" {
			mask = bits
		}
	}
	for _, e := range entries {
		kind, id, bits, ok := aclEntry(e)
		if ok && kind == "user" && id == w.uid {
			return says, bits&mask&need != need
		}
	}
	for _, e := range entries {
		kind, id, bits, ok := aclEntry(e)
		if !ok || kind != "group" || !slices.Contains(w.gids, id) && (id >= 0 || !slices.Contains(w.gids, fi.GID)) {
			continue
		}
		if inGroup = true; bits&mask&need == need {
			return "", false
		}
	}
	if inGroup {
		return says, true
	}
	return says, perm&need != need
}

// aclEntry reads "user:33:r-x"; id is -1 for the owner, the owning group, the mask and others.
func aclEntry(s string) (kind string, id int, bits fs.FileMode, ok bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 || len(parts[2]) != 3 {
		return "", 0, 0, false
	}
	id = -1
	if n, err := strconv.Atoi(parts[1]); err == nil {
		id = n
	}
	for i, bit := range []fs.FileMode{mayRead, mayWrite, mayEnter} {
		if parts[2][i] != '-' {
			bits |= bit
		}
	}
	return parts[0], id, bits, true
}
