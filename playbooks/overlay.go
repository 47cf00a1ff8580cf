package playbooks

import (
	"maps"
	"slices"
	"strings"

	"github.com/hostmend/hostmend/probes"
)

// Overlay changes parameters, stage or severity of playbooks for the hosts whose labels it matches, without forking the files.
//
//	hosts: {role: db, env: [prod, staging]}   # all of them must match; without hosts: every host
//	playbooks:
//	  filesystem-full:
//	    params: {full: 95}
//	    severity: warning
//	    stage: observe
type Overlay struct {
	Name      string
	hosts     map[string][]string
	playbooks *node
}

// ParseOverlay reads an overlay's file. The error is [Problems].
func ParseOverlay(file File) (Overlay, error) {
	src := newSource(file)
	o := Overlay{Name: file.Name, hosts: map[string][]string{}}
	root := parseYAML(src)
	if root == nil {
		return o, src.problems.err()
	}
	if root.kind != mapping {
		root.errorf("an overlay is a mapping of hosts and playbooks")
		return o, src.problems.err()
	}
	for i, k := range root.keys {
		switch n := root.items[i]; k.text {
		case "hosts":
			o.readHosts(n)
		case "playbooks":
			o.playbooks = n
			if n.kind != mapping {
				n.errorf("playbooks is a mapping: ID: {params: …, stage: …, severity: …}")
			}
		default:
			k.errorf("an overlay has no %q%s", k.text, didYouMean(k.text, []string{"hosts", "playbooks"}))
		}
	}
	if o.playbooks == nil && len(src.problems) == 0 {
		root.errorf("the overlay changes nothing: playbooks is missing")
	}
	return o, src.problems.err()
}

func (o *Overlay) readHosts(n *node) {
	if n.kind != mapping {
		n.errorf("hosts is a mapping of labels: {role: db}")
		return
	}
	for i, k := range n.keys {
		switch v := n.items[i]; v.kind {
		case scalar:
			o.hosts[k.text] = []string{v.text}
		case sequence:
			for _, item := range v.items {
				o.hosts[k.text] = append(o.hosts[k.text], item.text)
			}
		default:
			v.errorf("a label's value is a text, or a list of texts")
		}
	}
}

// matches reports whether a host with these labels is meant.
func (o *Overlay) matches(labels map[string]string) bool {
	for name, values := range o.hosts {
		if have, ok := labels[name]; !ok || !slices.Contains(values, have) {
			return false
		}
	}
	return true
}

// With is the library as it applies to a host with these labels: overlays that match are laid over one another, later ones win.
// The error is [Problems] of all overlays, those that do not match this host too.
func (l *Library) With(overlays []Overlay, labels map[string]string) (*Library, error) {
	next := &Library{schema: l.schema, playbooks: slices.Clone(l.playbooks)}
	var problems Problems
	for _, o := range overlays {
		src := o.playbooks.src
		src.mu.Lock()
		before := len(src.problems)
		for i, k := range o.playbooks.keys {
			at := slices.IndexFunc(next.playbooks, func(p *playbook) bool { return p.ID == k.text })
			if at < 0 {
				k.errorf("there is no playbook %q%s", k.text, nearest(k.text, keysOf(l.byID)))
				continue
			}
			if p := next.playbooks[at].overlaid(o.Name, o.playbooks.items[i]); p != nil && o.matches(labels) {
				next.playbooks[at] = p
			}
		}
		problems = append(problems, src.problems[before:]...)
		src.problems = src.problems[:before]
		src.mu.Unlock()
	}
	next.build()
	return next, problems.err()
}

// overlaid is the playbook with what an overlay says of it; nil if that is wrong.
func (p *playbook) overlaid(origin string, n *node) *playbook {
	ch := change{origins: maps.Clone(p.Origins)}
	if ch.origins == nil {
		ch.origins = map[string]string{}
	}
	if p.Origins["severity"] != "" {
		ch.severity = p.Severity
	}
	if p.Origins["stage"] != "" {
		ch.stage = p.Stage
	}
	if n.kind != mapping {
		n.errorf("what changes is a mapping: {params: …, stage: …, severity: …}")
		return nil
	}
	params, ok := slices.Clone(p.Params), true
	one := func(value *node, names []string) string {
		if value.kind != scalar || !slices.Contains(names, value.text) {
			value.errorf("%q is none of %s%s", value.text, strings.Join(names, ", "), nearest(value.text, names))
			ok = false
		}
		return value.text
	}
	for i, k := range n.keys {
		switch value := n.items[i]; k.text {
		case "params":
			ok = setParams(params, value, origin) && ok
		case "severity":
			ch.severity, ch.origins["severity"] = one(value, severityNames), origin
		case "stage":
			ch.stage, ch.origins["stage"] = one(value, Stages), origin
		case "why":
		default:
			k.errorf("an overlay cannot change %q%s", k.text, didYouMean(k.text, []string{"params", "severity", "stage", "why"}))
			ok = false
		}
	}
	if !ok {
		return nil
	}
	// Values within their bounds keep the types that were checked at load, but a literal condition may become impossible to
	// compute (a division by a parameter that is now zero): such a change is refused.
	f := p.form()
	q := compilePlaybook(f, params, ch)
	if wrong := f.src.problems; len(wrong) > 0 {
		n.errorf("with these values the playbook does not compile: %s", wrong[0].Text)
		return nil
	}
	return q
}

// setParams sets parameters within their bounds.
func setParams(params []Param, n *node, origin string) bool {
	if n.kind != mapping {
		n.errorf("params is a mapping: {NAME: value}")
		return false
	}
	ok := true
	for i, k := range n.keys {
		at := slices.IndexFunc(params, func(p Param) bool { return p.Name == k.text })
		if at < 0 {
			names := make([]string, len(params))
			for j := range params {
				names[j] = params[j].Name
			}
			k.errorf("there is no parameter %q%s", k.text, didYouMean(k.text, names))
			ok = false
			continue
		}
		p := &params[at]
		v, isNumber := readNumber(n.items[i])
		if isNumber && p.kind() == probes.Float && v.Kind() == probes.Int {
			v = probes.FloatValue(float64(v.Int()))
		}
		switch {
		case !isNumber || v.Kind() != p.kind():
			n.items[i].errorf("%s is %s, like its default %s", k.text, kindWords(p.kind()), exact(&p.Default))
			ok = false
		case v.Compare(&p.Min) < 0 || v.Compare(&p.Max) > 0:
			n.items[i].errorf("%s lies between %s and %s", k.text, exact(&p.Min), exact(&p.Max))
			ok = false
		default:
			p.Value, p.Origin = v, origin
		}
	}
	return ok
}

// withParams is the library of one playbook with other parameters; nil if they are wrong, which is then recorded.
func (l *Library) withParams(n *node) *Library {
	p := l.playbooks[0].overlaid("story", &node{kind: mapping, keys: []*node{{text: "params"}}, items: []*node{n}, src: n.src, at: n.at})
	if p == nil {
		return nil
	}
	next := &Library{schema: l.schema, playbooks: []*playbook{p}}
	next.build()
	return next
}
