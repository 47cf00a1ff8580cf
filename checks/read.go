package checks

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hostmend/hostmend/internal/host"
	"github.com/hostmend/hostmend/playbooks"
)

// key is a key of a mapping: what the loader knows, the reference page tells and the schema allows.
type key struct {
	name, doc string
	required  bool
	schema    any
}

var (
	nameFor    = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	secretName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	unitName   = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|mount|swap|timer|target|path|slice|scope|automount|device)$`)
	domainName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.?$`)
)

// commonKeys are those of every check, beside that which names its kind.
func commonKeys() []key {
	return []key{
		{name: "doc", doc: "What is asked, in one line: the title on reference pages.", required: true, schema: schemaText()},
		{name: "every", doc: "How often a watching agent asks: 10s to 24h. Default 1m.", schema: schemaText()},
		{name: "timeout", doc: "When to give up: 100ms to 30s. Default 5s.", schema: schemaText()},
		{name: "limit", doc: "How many bytes are read of the answer, file or output: 1024 to 4194304. Default 65536.", schema: schemaInteger(minLimit, maxLimit)},
	}
}

// reader reads a mapping, and notes what is wrong with it.
type reader struct {
	playbooks.Node
}

// read reads the checks of a file; what is wrong is among the document's problems.
func read(doc *playbooks.Document) []check {
	root, ok := doc.Root()
	if !ok {
		return nil
	}
	if !root.IsMapping() {
		root.Errorf("a file of checks is a mapping of names to checks, and this is %s", root.What())
		return nil
	}
	var list []check
	for i := range root.Len() {
		list = append(list, readCheck(root.Key(i), root.Item(i)))
	}
	return list
}

func readCheck(name, n playbooks.Node) check {
	c := check{name: name.Text(), at: name, every: defaultEvery, timeout: defaultTimeout}
	if !nameFor.MatchString(c.name) {
		name.Errorf("%q is no name for a check: small letters, digits and _", c.name)
	}
	if !n.IsMapping() {
		n.Errorf("a check is a mapping, and this is %s", n.What())
		return c
	}
	r := reader{n}
	keys := commonKeys()
	var named []string
	for _, k := range kinds() {
		keys = append(keys, key{name: k.name})
		if at, ok := n.Get(k.name); ok {
			named = append(named, k.name)
			c.kind = k
			if len(named) == 2 {
				at.Errorf("a check asks one thing, and this one asks %s", strings.Join(named, " and "))
			}
		}
	}
	r.only("a check", keys)
	if doc := r.text("doc"); strings.ContainsAny(doc, "\n") || strings.HasSuffix(doc, ".") {
		r.at("doc").Errorf("doc is one line, and a phrase without a period at its end")
	} else {
		c.doc = doc
	}
	c.every = r.duration("every", defaultEvery, minEvery, maxEvery)
	c.timeout = r.duration("timeout", defaultTimeout, minTimeout, maxTimeout)
	c.ask = host.Check{Name: c.name, Timeout: c.timeout, Limit: r.integer("limit", defaultLimit, minLimit, maxLimit)}
	if len(named) == 0 {
		name.Errorf("the check %s says not what it asks: one of %s", c.name, strings.Join(kindNames(), ", "))
		return c
	}
	at, _ := n.Get(c.kind.name)
	if !at.IsMapping() {
		at.Errorf("%s is a mapping, and this is %s", c.kind.name, at.What())
		return c
	}
	r = reader{at}
	r.only(c.kind.name, c.kind.keys)
	c.kind.read(&r, &c)
	r.readMatch(&c)
	return c
}

func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// only refuses keys that there are not, and misses those that must be.
func (r *reader) only(what string, keys []key) {
	var names []string
	for _, k := range keys {
		names = append(names, k.name)
		if _, ok := r.Get(k.name); k.required && !ok {
			r.Errorf("%s lacks %s: %s", what, k.name, k.doc)
		}
	}
	for i := range r.Len() {
		if k := r.Key(i); !slices.Contains(names, k.Text()) {
			k.Errorf("%s has no key %q%s", what, k.Text(), playbooks.DidYouMean(k.Text(), names))
		}
	}
}

// at is the value under a key that is there, or the mapping.
func (r *reader) at(name string) playbooks.Node {
	if n, ok := r.Get(name); ok {
		return n
	}
	return r.Node
}

func (r *reader) text(name string) string {
	n, ok := r.Get(name)
	if !ok {
		return ""
	}
	return textOf(n, name)
}

func textOf(n playbooks.Node, name string) string {
	switch {
	case !n.IsText():
		n.Errorf("%s is a text, and this is %s", name, n.What())
	case strings.TrimSpace(n.Text()) == "":
		n.Errorf("%s is empty", name)
	case strings.ContainsFunc(strings.TrimSpace(n.Text()), func(r rune) bool { return r < ' ' || r == 0x7f }):
		n.Errorf("%s is one line of text", name)
	default:
		return strings.TrimSpace(n.Text())
	}
	return ""
}

// open is a text that every reader of the file may know.
func (r *reader) open(name string) string {
	text := r.text(name)
	if n, ok := r.Get(name); ok && looksSecret(text) {
		n.Errorf("%s seems to hold a secret: put it into a file of its own on the host, and refer to it in headers by {secret: NAME}", name)
	}
	return text
}

func looksSecret(text string) bool { return host.Redact(text) != text }

func (r *reader) duration(name string, otherwise, least, most time.Duration) time.Duration {
	n, ok := r.Get(name)
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(textOf(n, name))
	if n.IsText() && (err != nil || d < least || d > most) {
		n.Errorf("%s is a duration from %s to %s, and this is %q", name, least, most, n.Text())
		return otherwise
	}
	return d
}

func (r *reader) integer(name string, otherwise, least, most int) int {
	n, ok := r.Get(name)
	if !ok {
		return otherwise
	}
	i, err := strconv.Atoi(strings.ReplaceAll(textOf(n, name), "_", ""))
	if n.IsText() && (err != nil || i < least || i > most) {
		n.Errorf("%s is a whole number from %d to %d, and this is %q", name, least, most, n.Text())
		return otherwise
	}
	return i
}

func (r *reader) bool(name string) bool {
	n, ok := r.Get(name)
	if ok && n.Text() != "true" && n.Text() != "false" {
		n.Errorf("%s is true or false", name)
	}
	return ok && n.Text() == "true"
}

// file is the path of a file that checks may read.
func (r *reader) file(name string) string {
	p := r.text(name)
	if p == "" {
		return ""
	}
	if !path.IsAbs(p) || path.Clean(p) != p {
		r.at(name).Errorf("%s is a whole path, without . and ..: %q", name, p)
	} else if why := host.Forbidden(p); why != "" {
		r.at(name).Errorf("%s is not read by checks: %s", p, why)
	}
	return p
}

func (r *reader) address(name string) string {
	a := r.text(name)
	if a != "" && !hostPort(a) {
		r.at(name).Errorf("%s is HOST:PORT, and this is %q", name, a)
	}
	return a
}

func (r *reader) url(name string) string {
	text := r.open(name)
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		r.at(name).Errorf("%s is a URL, http://… or https://…: %q", name, text)
	case u.User != nil:
		r.at(name).Errorf("%s holds a user's name: give it in headers, {Authorization: {text: \"Basic \", secret: NAME}}", name)
	case u.Fragment != "":
		r.at(name).Errorf("%s has a fragment (#…), which is never sent", name)
	}
	return text
}

// plainSecret refuses to send a secret so that everybody on the way can read it. What stays on the host is on no way.
func (r *reader) plainSecret(h *host.HTTPCheck) {
	plain := r.bool("plain")
	u, err := url.Parse(h.URL)
	if plain || err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.Unmap().IsLoopback() {
		return
	}
	for _, header := range h.Header {
		if header.Secret != "" {
			r.at("url").Errorf("url is http://…, which would show the secret %s to everybody on the way: use https, or say plain: true", header.Secret)
			return
		}
	}
}

// headers are NAME: TEXT, or NAME: {text: BEFORE, secret: NAME}.
func (r *reader) headers() map[string]host.Header {
	n, ok := r.Get("headers")
	if !ok {
		return nil
	}
	if !n.IsMapping() {
		n.Errorf("headers is a mapping of names to texts, and this is %s", n.What())
		return nil
	}
	all := map[string]host.Header{}
	for i := range n.Len() {
		k, v := n.Key(i), n.Item(i)
		if !headerName.MatchString(k.Text()) {
			k.Errorf("%q is no name of a header", k.Text())
		}
		var h host.Header
		if v.IsMapping() {
			r := reader{v}
			r.only("a header", headerKeys)
			h.Secret = r.text("secret")
			if h.Secret != "" && !secretName.MatchString(h.Secret) {
				r.at("secret").Errorf("%q is no name of a secret: small letters, digits, . _ and -", h.Secret)
			}
			if t, ok := v.Get("text"); ok && textOf(t, "text") != "" {
				h.Text = t.Text() // with the space at its end
			}
		} else if h.Text = textOf(v, k.Text()); looksSecret(k.Text() + ": " + h.Text) {
			v.Errorf("this seems to be a secret: put it into /etc/hostmend/secrets/NAME on the host, and write {secret: NAME}")
		}
		all[k.Text()] = h
	}
	return all
}

var headerKeys = []key{
	{name: "text", doc: "What comes before the secret: `\"Bearer \"`.", schema: schemaText()},
	{name: "secret", doc: "The name of a file in /etc/hostmend/secrets on the host that asks.", required: true, schema: schemaText()},
}

// readMatch reads match and values, where the kind has them.
func (r *reader) readMatch(c *check) {
	text := r.text("match")
	var groups []string
	if text != "" {
		re, err := regexp.Compile(text)
		switch {
		case err != nil:
			r.at("match").Errorf("match is no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		case len(text) > maxPattern:
			r.at("match").Errorf("match has %d bytes; %d is the limit", len(text), maxPattern)
		default:
			groups = slices.DeleteFunc(re.SubexpNames(), func(s string) bool { return s == "" })
		}
		c.ask.Pattern = text
	}
	n, ok := r.Get("values")
	if ok && !n.IsMapping() {
		n.Errorf("values is a mapping of the names in match to their types, and this is %s", n.What())
		return
	}
	declared, entries := map[string]bool{}, 0
	if ok {
		entries = n.Len()
	}
	for i := range entries {
		v := readValue(n.Key(i), n.Item(i))
		declared[v.name] = true
		if !slices.Contains(groups, v.name) {
			n.Key(i).Errorf("match has no group (?P<%s>…)", v.name)
		}
		if slices.Contains(c.kind.own, v.name) {
			n.Key(i).Errorf("%q is a fact of every %s check: choose another name", v.name, c.kind.name)
		}
		c.values = append(c.values, v)
	}
	for _, g := range groups {
		if !declared[g] {
			r.at("match").Errorf("the group %q lacks its type: values: {%s: text}; the types are %s", g, g, strings.Join(typeNames(), ", "))
		}
	}
	if len(c.values) > maxValues {
		n.Errorf("there are more than %d values", maxValues)
	}
}

var valueKeys = []key{
	{name: "type", doc: "text, number, duration, bytes or bool.", required: true},
	{name: "unit", doc: "Of a number, for reports: `%`, `1/s`, `count`.", schema: schemaText()},
	{name: "doc", doc: "What it means.", schema: schemaText()},
}

func readValue(k, n playbooks.Node) value {
	v := value{name: k.Text(), doc: "What match calls " + k.Text()}
	if !nameFor.MatchString(v.name) {
		k.Errorf("%q is no name for a fact: small letters, digits and _", v.name)
	}
	typ := n
	if n.IsMapping() {
		r := reader{n}
		r.only("a value", valueKeys)
		if typ = r.at("type"); typ.IsMapping() {
			return v
		}
		if v.unit = r.text("unit"); len(v.unit) > 16 {
			r.at("unit").Errorf("a unit is short: %%, 1/s, count")
		}
		if doc := r.text("doc"); doc != "" {
			v.doc = doc
		}
	}
	v.typ = textOf(typ, "type")
	if v.typ != "" && !slices.Contains(typeNames(), v.typ) {
		typ.Errorf("%q is no type; there are %s", v.typ, strings.Join(typeNames(), ", "))
	}
	if v.unit != "" && v.typ != "number" {
		n.Errorf("only a number is given a unit")
	}
	if v.typ == "bytes" {
		v.unit = "bytes"
	}
	return v
}

var (
	headersKey = key{name: "headers", doc: "Headers to send: NAME: TEXT, or NAME: {text: BEFORE, secret: NAME}.", schema: map[string]any{"$ref": "#/$defs/headers"}}
	plainKey   = key{name: "plain", doc: "true: a secret may go to another host by http, where everybody on the way can read it.", schema: schemaBool()}
	caKey      = key{name: "ca", doc: "A file of certificates (PEM) to trust instead of the host's own.", schema: schemaText()}
	matchKeys  = []key{
		{name: "match", doc: "A regular expression (RE2) for the text: `(?m)` lets ^ and $ stand for lines. Its named groups, (?P<name>…), are facts.", schema: schemaText()},
		{name: "values", doc: "The types of these facts: NAME: TYPE, or NAME: {type: …, unit: …, doc: …}.", schema: map[string]any{"$ref": "#/$defs/values"}},
	}
)

var httpKeys = append([]key{
	{name: "url", doc: "What to fetch: http://… or https://….", required: true, schema: schemaText()},
	{name: "method", doc: "GET or HEAD. Default GET.", schema: schemaEnum("GET", "HEAD")},
	headersKey,
	plainKey,
	{name: "redirects", doc: "How many redirects to follow, 5 at most. Default 0.", schema: schemaInteger(0, 5)},
	caKey,
}, matchKeys...)

func readHTTP(r *reader, c *check) {
	h := &host.HTTPCheck{URL: r.url("url"), Method: "GET", Header: r.headers(), Redirects: r.integer("redirects", 0, 0, 5), CA: r.file("ca")}
	if m := r.text("method"); m != "" {
		if h.Method = m; m != "GET" && m != "HEAD" {
			r.at("method").Errorf("method is GET or HEAD: a check changes nothing")
		}
	}
	if _, ok := r.Get("match"); ok && h.Method == "HEAD" {
		r.at("match").Errorf("an answer to HEAD has no body to match")
	}
	r.plainSecret(h)
	c.ask.HTTP = h
}

var tcpKeys = append([]key{{name: "address", doc: "HOST:PORT; an IPv6 address in brackets.", required: true, schema: schemaText()}}, matchKeys...)

func readTCP(r *reader, c *check) { c.ask.TCP = r.address("address") }

var recordTypes = []string{"A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "CAA"}

var dnsKeys = []key{
	{name: "name", doc: "The whole name to ask for: www.example.com.", required: true, schema: schemaText()},
	{name: "type", doc: "The record type: " + strings.Join(recordTypes, ", ") + ". Default A.", schema: schemaEnum(recordTypes...)},
	{name: "server", doc: "Whom to ask: ADDRESS or ADDRESS:PORT. Default: the first name server of /etc/resolv.conf.", schema: schemaText()},
}

func readDNS(r *reader, c *check) {
	c.dns = dnsCheck{name: r.text("name"), recordType: "A"}
	if c.dns.name != "" && (len(c.dns.name) > 254 || !domainName.MatchString(c.dns.name)) {
		r.at("name").Errorf("%q is no domain name", c.dns.name)
	}
	if t := r.text("type"); t != "" {
		if c.dns.recordType = t; !slices.Contains(recordTypes, t) {
			r.at("type").Errorf("%q is no record type that checks ask for: %s", t, strings.Join(recordTypes, ", "))
		}
	}
	if s := r.text("server"); s != "" {
		if addr, err := netip.ParseAddr(s); err == nil {
			s = netip.AddrPortFrom(addr, 53).String()
		} else if _, err := netip.ParseAddrPort(s); err != nil {
			r.at("server").Errorf("server is an address, with a port or without: %q", s)
		}
		c.dns.server = s
	}
}

var fileKeys = append([]key{
	{name: "path", doc: "The whole path.", required: true, schema: schemaText()},
	{name: "tail", doc: "true: of a file longer than limit its end is read and not its beginning. For logs.", schema: schemaBool()},
}, matchKeys...)

func readFile(r *reader, c *check) {
	c.ask.File = &host.FileCheck{Path: r.file("path"), Tail: r.bool("tail")}
}

var unitKeys = []key{{name: "name", doc: "The unit with its suffix: nginx.service.", required: true, schema: schemaText()}}

func readUnit(r *reader, c *check) {
	c.unit = r.text("name")
	if c.unit != "" && (!unitName.MatchString(c.unit) || strings.HasPrefix(c.unit, "-")) {
		r.at("name").Errorf("%q is no unit: write its suffix, nginx.service", c.unit)
	}
}

var certificateKeys = []key{
	{name: "file", doc: "A file with the certificate, and after it those that lead to its authority. Or address.", schema: schemaText()},
	{name: "address", doc: "HOST:PORT of a server that speaks TLS. Or file.", schema: schemaText()},
	{name: "name", doc: "The name that it must be for. Default: of an address its HOST, of a file none.", schema: schemaText()},
	caKey,
}

func readCertificate(r *reader, c *check) {
	cert := &host.CertificateCheck{File: r.text("file"), Address: r.address("address"), Name: r.text("name"), CA: r.file("ca")}
	if cert.File != "" && (!path.IsAbs(cert.File) || path.Clean(cert.File) != cert.File) {
		r.at("file").Errorf("file is a whole path, without . and ..: %q", cert.File)
	}
	if _, file := r.Get("file"); file == r.has("address") {
		r.Errorf("a certificate is in a file or shown at an address: one of the two")
	}
	c.ask.Certificate = cert
}

func (r *reader) has(name string) bool {
	_, ok := r.Get(name)
	return ok
}

var commandKeys = append([]key{
	{name: "argv", doc: "The program's whole path and its arguments. No shell sees them.", required: true, schema: map[string]any{"type": "array", "items": schemaText(), "minItems": 1, "maxItems": 50}},
}, matchKeys...)

func readCommand(r *reader, c *check) {
	n, ok := r.Get("argv")
	if !ok {
		return
	}
	if !n.IsList() || n.Len() == 0 || n.Len() > 50 {
		n.Errorf("argv is a list of words, the program first: [/usr/bin/redis-cli, ping]")
		return
	}
	for i := range n.Len() {
		word := textOf(n.Item(i), fmt.Sprintf("word %d", i+1))
		c.ask.Command = append(c.ask.Command, word)
	}
	if program := c.ask.Command[0]; !path.IsAbs(program) || path.Clean(program) != program {
		n.Item(0).Errorf("argv begins with the whole path of a program, and not with %q", program)
	}
	if slices.ContainsFunc(c.ask.Command, looksSecret) || looksSecret(strings.Join(c.ask.Command, " ")) {
		n.Errorf("argv seems to hold a secret, which every user of the host could see in ps: let the program read it from a file")
	}
}

var prometheusKeys = []key{
	{name: "url", doc: "The server's address, up to where its own paths begin: http://localhost:9090.", required: true, schema: schemaText()},
	{name: "query", doc: "An expression whose value is an instant vector or a scalar.", required: true, schema: schemaText()},
	headersKey,
	plainKey,
	caKey,
}

func readPrometheus(r *reader, c *check) {
	p := &host.PrometheusCheck{Query: r.open("query")}
	p.URL, p.Method, p.Header, p.CA = r.url("url"), "GET", r.headers(), r.file("ca")
	if strings.Contains(p.URL, "?") {
		r.at("url").Errorf("url is the server's address alone; the expression goes under query")
	}
	r.plainSecret(&p.HTTPCheck)
	c.ask.Prometheus = p
}
