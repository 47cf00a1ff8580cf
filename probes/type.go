package probes

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// Type is the shape of a fact: what a playbook may say about it. It is read off the struct that a probe returns.
type Type struct {
	Kind     Kind
	Optional bool    // the host may have none: the Value may be Absent
	Elem     *Type   // List, Map
	Fields   []Field // Struct
}

// Field is a named fact within a Struct.
type Field struct {
	Name string // as expressions write it
	Unit string // "bytes", "%", "1/s", "count"; empty for what has none
	Doc  string // what it means and where it is read
	Key  bool   // identifies the element among its list: the mount, not its place
	Type *Type
}

// Field returns the index of the field called name, or -1.
func (t *Type) Field(name string) int {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// KeyField returns the index of the field that identifies an element, or -1.
func (t *Type) KeyField() int {
	for i := range t.Fields {
		if t.Fields[i].Key {
			return i
		}
	}
	return -1
}

func (t *Type) fieldNames() []string {
	names := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i] = f.Name
	}
	return names
}

// String is the type as documentation writes it: "int", "optional float", "list of struct".
func (t *Type) String() string {
	s := t.Kind.String()
	if t.Elem != nil {
		s += " of " + t.Elem.String()
	}
	if t.Optional {
		s = "optional " + s
	}
	return s
}

// Opt is a fact that the host may not have. The zero Opt is absent.
type Opt[T any] struct {
	v     T
	state optState
	why   string
}

type optState uint8

const (
	optAbsent optState = iota
	optSome
	optUnreadable
)

// Some is a fact that the host has.
func Some[T any](v T) Opt[T] { return Opt[T]{v: v, state: optSome} }

// None is a fact that the host does not have.
func None[T any]() Opt[T] { return Opt[T]{} }

// Unread is a fact that could not be found out, and why; the facts beside it stand.
func Unread[T any](why string) Opt[T] { return Opt[T]{state: optUnreadable, why: why} }

// Get returns the fact and whether there is one.
func (o Opt[T]) Get() (T, bool) { return o.v, o.state == optSome }

func (Opt[T]) isOpt() {}

// Cut is a list that may have been cut short: quantifiers over it are only decided by what is certain.
type Cut[T any] struct {
	All  []T
	More int    // elements left out, at least
	Why  string // why they were left out, if it is not their number; with More 0: why the list could not be read at all, All is not looked at then
}

func (Cut[T]) isCut() {}

var (
	optType      = reflect.TypeFor[interface{ isOpt() }]()
	cutType      = reflect.TypeFor[interface{ isCut() }]()
	durationType = reflect.TypeFor[time.Duration]()
	namePattern  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// typeOf reads the shape of a facts type. Field tags: `fact:"used_pct" unit:"%" doc:"…"`; `fact:"mount,key"` marks the field
// that identifies an element.
func typeOf(rt reflect.Type) (*Type, error) {
	switch {
	case rt == durationType:
		return &Type{Kind: Duration}, nil
	case rt.Implements(optType):
		t, err := typeOf(rt.Field(0).Type)
		if err == nil && (t.Optional || t.Kind == List || t.Kind == Map) {
			err = fmt.Errorf("optional %s: an empty one says the same", t)
		}
		if err != nil {
			return nil, err
		}
		t.Optional = true
		return t, nil
	case rt.Implements(cutType):
		return typeOf(rt.Field(0).Type)
	}
	switch rt.Kind() {
	case reflect.Bool:
		return &Type{Kind: Bool}, nil
	case reflect.Int, reflect.Int64:
		return &Type{Kind: Int}, nil
	case reflect.Float64:
		return &Type{Kind: Float}, nil
	case reflect.String:
		return &Type{Kind: String}, nil
	case reflect.Slice:
		elem, err := typeOf(rt.Elem())
		return &Type{Kind: List, Elem: elem}, err
	case reflect.Map:
		if rt.Key().Kind() != reflect.String {
			return nil, fmt.Errorf("map keys are strings, not %s", rt.Key())
		}
		elem, err := typeOf(rt.Elem())
		return &Type{Kind: Map, Elem: elem}, err
	case reflect.Struct:
		return structType(rt)
	default:
		return nil, fmt.Errorf("%s cannot be a fact: use int, float64, string, bool, time.Duration, Opt, Cut, a struct, slice or map", rt)
	}
}

func structType(rt reflect.Type) (*Type, error) {
	t := &Type{Kind: Struct}
	var errs []error
	keys := 0
	for sf := range rt.Fields() {
		name, flag, _ := strings.Cut(sf.Tag.Get("fact"), ",")
		f := Field{Name: name, Unit: sf.Tag.Get("unit"), Doc: sf.Tag.Get("doc"), Key: flag == "key"}
		if f.Key {
			keys++
		}
		var err error
		f.Type, err = typeOf(sf.Type)
		switch {
		case err != nil:
		case !sf.IsExported():
			err = errors.New("is not exported")
		case !namePattern.MatchString(name):
			err = fmt.Errorf(`wants a name: fact:"%s"`, strings.ToLower(sf.Name))
		case t.Field(name) >= 0:
			err = fmt.Errorf("the name %q is taken", name)
		case f.Doc == "":
			err = errors.New("is undocumented")
		case f.Unit == "" && (f.Type.Kind == Int || f.Type.Kind == Float):
			err = errors.New("is a number without a unit")
		case f.Key && (f.Type.Optional || f.Type.Kind != String && f.Type.Kind != Int):
			err = errors.New("is a key, so it must be a string or an int that is always there")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("field %s.%s: %w", rt, sf.Name, err))
		}
		t.Fields = append(t.Fields, f)
	}
	if keys > 1 {
		errs = append(errs, fmt.Errorf("%s has %d keys; one field identifies an element", rt, keys))
	}
	return t, errors.Join(errs...)
}

// valueOf converts what a probe returned; rv's shape is known to fit t.
func valueOf(rv reflect.Value, t *Type) Value {
	if t.Optional {
		switch optState(rv.Field(1).Uint()) {
		case optSome:
			rv = rv.Field(0)
		case optUnreadable:
			return UnreadableValue(rv.Field(2).String())
		default:
			return AbsentValue()
		}
	}
	switch t.Kind {
	case Bool:
		return BoolValue(rv.Bool())
	case Int:
		return IntValue(rv.Int())
	case Float:
		return FloatValue(rv.Float())
	case Duration:
		return DurationValue(time.Duration(rv.Int()))
	case String:
		return StringValue(rv.String())
	case List:
		more, why := 0, ""
		if rv.Kind() == reflect.Struct {
			more, why, rv = int(rv.Field(1).Int()), rv.Field(2).String(), rv.Field(0)
			if why != "" && more == 0 {
				return UnreadableValue(why)
			}
		}
		elems := make([]Value, rv.Len())
		for i := range elems {
			elems[i] = valueOf(rv.Index(i), t.Elem)
		}
		return CutValue(elems, more, why)
	case Map:
		m := make(map[string]Value, rv.Len())
		for it := rv.MapRange(); it.Next(); {
			m[it.Key().String()] = valueOf(it.Value(), t.Elem)
		}
		return MapValue(m)
	case Struct:
		fields := make([]Value, len(t.Fields))
		for i := range fields {
			fields[i] = valueOf(rv.Field(i), t.Fields[i].Type)
		}
		return StructValue(fields)
	default:
		return UnreadableValue("a value of kind " + t.Kind.String())
	}
}
