// Package probes is the contract of a probe and the runner that carries a set of them out. A probe is one way of looking at
// a source (the host, or the cloud's view of it) and the facts it yields; the facts' types are the vocabulary of the playbooks.
package probes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Probe looks at a source S and yields facts. It is a plain value that documents itself, lives in one file and is listed by
// hand. Make one with [Define], [DefineSampled] or [DefineKeyed].
type Probe[S any] struct {
	Name string // as expressions write it: "conntrack"
	// Doc: a title line; then, after an empty line, what it reads, what it costs, and when its answer misleads.
	Doc     string
	Needs   Needs         // what it cannot do without: unmet → skipped, with the reason
	Every   time.Duration // the daemon's interval; 0: a minute
	Timeout time.Duration // 0: two seconds
	Waits   bool          // it mostly waits, like one that needs the network: it takes no place among those that compute

	facts   *Type
	err     error // what is wrong with the definition
	sampled bool
	sample  func(context.Context, S, Want) (any, error)
	derive  func(cur, prev any, dt time.Duration) (Value, error)
}

// Needs is what a probe cannot do without.
type Needs uint8

// A probe that only tells more when it is root does without Root and leaves those facts Unread.
const (
	Root    Needs = 1 << iota
	Network       // it sends packets
)

// String names the needs: "root", "root and network".
func (n Needs) String() string {
	var names []string
	if n&Root != 0 {
		names = append(names, "root")
	}
	if n&Network != 0 {
		names = append(names, "network")
	}
	return strings.Join(names, " and ")
}

// ErrNoData is a probe's answer that the host does not have what it looks at: no conntrack module, no swap. It is not a
// failure. Return [NoData] to say what is missing.
var ErrNoData = errors.New("no data")

type noData string

func (n noData) Error() string        { return string(n) }
func (n noData) Is(target error) bool { return target == ErrNoData }

// NoData is ErrNoData with its reason, a phrase: "the conntrack module is not loaded".
func NoData(reason string) error { return noData(reason) }

// Define ties a collecting function to the type of its facts, T: a struct whose every field carries its name, unit and doc.
func Define[S, T any](p Probe[S], collect func(context.Context, S) (T, error)) Probe[S] {
	p.facts, p.err = typeOf(reflect.TypeFor[T]())
	p.sample = func(ctx context.Context, src S, _ Want) (any, error) { return collect(ctx, src) }
	p.derive = func(cur, _ any, _ time.Duration) (Value, error) { return valueOf(reflect.ValueOf(cur), p.facts), nil }
	return p
}

// DefineWith is Define for facts to which whoever declares the probe adds some of his own: they follow those of T. collect returns T and
// their values, in the order of more.
func DefineWith[S, T any](p Probe[S], more []Field, collect func(context.Context, S) (T, []Value, error)) Probe[S] {
	type answer struct {
		facts T
		more  []Value
	}
	own, err := typeOf(reflect.TypeFor[T]())
	if err != nil {
		p.err = err
		return p
	}
	p.facts = &Type{Kind: Struct, Fields: slices.Concat(own.Fields, more)}
	for _, f := range more {
		if own.Field(f.Name) >= 0 {
			p.err = fmt.Errorf("the name %q is taken", f.Name)
		}
	}
	p.sample = func(ctx context.Context, src S, _ Want) (any, error) {
		facts, more, err := collect(ctx, src)
		return answer{facts, more}, err
	}
	p.derive = func(cur, _ any, _ time.Duration) (Value, error) {
		a := cur.(answer)
		v := valueOf(reflect.ValueOf(a.facts), own)
		return StructValue(append(v.list, a.more...)), nil
	}
	return p
}

// FieldNames are the names of T's facts: what a name that is added to them must not be.
func FieldNames[T any]() []string {
	t, err := typeOf(reflect.TypeFor[T]())
	if err != nil {
		return nil
	}
	return t.fieldNames()
}

// DefineSampled is Define for facts that are rates: sample reads raw counters R, and facts, a pure function, makes facts of
// the latest sample and the one before. In one-shot use the Runner takes two samples a second apart; in the daemon prev is
// the last interval's, and nil at first (then rates are absent).
func DefineSampled[S, R, T any](p Probe[S], sample func(context.Context, S) (R, error), facts func(cur R, prev *R, dt time.Duration) (T, error)) Probe[S] {
	p.facts, p.err = typeOf(reflect.TypeFor[T]())
	p.sampled = true
	p.sample = func(ctx context.Context, src S, _ Want) (any, error) { return sample(ctx, src) }
	p.derive = func(cur, prev any, dt time.Duration) (Value, error) {
		var before *R
		if prev != nil {
			r := prev.(R)
			before = &r
		}
		t, err := facts(cur.(R), before, dt)
		if err != nil {
			return Value{}, err
		}
		return valueOf(reflect.ValueOf(t), p.facts), nil
	}
	return p
}

// DefineKeyed is Define for a map of which only the keys that somebody wants are read: sysctl["net.core.somaxconn"]. When
// all are wanted, keys lists them. A read of a key that the host does not have returns fs.ErrNotExist; such a key is missing
// from the map. Another error makes that one value Unreadable.
func DefineKeyed[S, V any](p Probe[S], keys func(context.Context, S) ([]string, error), read func(context.Context, S, string) (V, error)) Probe[S] {
	elem, err := typeOf(reflect.TypeFor[V]())
	p.facts, p.err = &Type{Kind: Map, Elem: elem}, err
	p.sample = func(ctx context.Context, src S, want Want) (any, error) {
		names := want[p.Name]
		if names == nil {
			all, err := keys(ctx, src)
			if err != nil {
				return nil, err
			}
			names = all
		}
		values := make(map[string]Value, len(names))
		for _, name := range names {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			v, err := read(ctx, src, name)
			switch {
			case err == nil:
				values[name] = valueOf(reflect.ValueOf(&v).Elem(), elem)
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrNoData):
			default:
				values[name] = UnreadableValue(err.Error())
			}
		}
		return MapValue(values), nil
	}
	p.derive = func(cur, _ any, _ time.Duration) (Value, error) { return cur.(Value), nil }
	return p
}

// Want says which probes' facts somebody reads: a probe that is not in it does not run. For a keyed probe the list holds the
// keys; a nil list means all of them. A nil Want means everything.
type Want map[string][]string

// Info is what there is to know of a probe without its source: the playbooks' schema and the reference page are made of it.
type Info struct {
	Name    string
	Doc     string
	Needs   Needs
	Every   time.Duration
	Timeout time.Duration
	Sampled bool // its rates take two samples
	Facts   *Type
}

// Title is the first line of Doc.
func (i Info) Title() string {
	title, _, _ := strings.Cut(i.Doc, "\n")
	return title
}

// The defaults. A minute is what node_exporter's users scrape at; two seconds is longer than any local source takes on a
// loaded host, and short enough for a one-shot within five.
const (
	defaultEvery   = time.Minute
	defaultTimeout = 2 * time.Second
)

// Info describes the probe.
func (p Probe[S]) Info() Info {
	i := Info{Name: p.Name, Doc: p.Doc, Needs: p.Needs, Every: p.Every, Timeout: p.Timeout, Sampled: p.sampled, Facts: p.facts}
	if i.Every == 0 {
		i.Every = defaultEvery
	}
	if i.Timeout == 0 {
		i.Timeout = defaultTimeout
	}
	return i
}

// Describe lists what there is to know of probes.
func Describe[S any](list []Probe[S]) []Info {
	infos := make([]Info, len(list))
	for i, p := range list {
		infos[i] = p.Info()
	}
	return infos
}

// Site begins the names of the probes that an operator declares for his own hosts: site.shop.
const Site = "site"

var probeName = regexp.MustCompile(`^(` + Site + `\.)?[a-z][a-z0-9_]*$`)

// Validate reports everything that is wrong with the definitions of a list of probes.
func Validate[S any](list []Probe[S]) error {
	var errs []error
	seen := map[string]bool{}
	for _, p := range list {
		title, text, _ := strings.Cut(p.Doc, "\n\n")
		var err error
		switch {
		case p.err != nil:
			err = p.err
		case !probeName.MatchString(p.Name):
			err = errors.New("the name is not a lower-case identifier")
		case seen[p.Name]:
			err = errors.New("the name is taken")
		case p.sample == nil:
			err = errors.New("it was not made by Define, DefineSampled or DefineKeyed")
		case title == "" || strings.HasSuffix(title, ".") || strings.Contains(title, "\n"):
			err = errors.New("doc begins with a title line without a period")
		case strings.TrimSpace(text) == "":
			err = errors.New("doc lacks its text: what it reads, what it costs, when it misleads")
		case p.facts.Kind != Struct && p.facts.Kind != Map:
			err = fmt.Errorf("facts are a struct or a map, not a %s", p.facts)
		}
		seen[p.Name] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("probe %q: %w", p.Name, err))
		}
	}
	return errors.Join(errs...)
}
