package probes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Kind is the shape of a [Value] or a [Type].
type Kind uint8

// The kinds. The zero Value is Unreadable: what nobody filled in is not known.
const (
	Unreadable Kind = iota // the probe could not find out; nothing may stand in for it
	Absent                 // the probe looked and there is none; the ?? operator answers it
	Bool
	Int
	Float
	Duration
	String
	List
	Struct
	Map
)

var kindNames = [...]string{"unreadable", "absent", "bool", "int", "float", "duration", "string", "list", "struct", "map"}

func (k Kind) String() string { return kindNames[k] }

// Value is one fact, or a tree of them. It is immutable once it is part of a Snapshot. Values are plain data of a known
// [Type]: a snapshot made on this host, decoded from a story or received from another machine are the same thing, and the
// playbooks' evaluator reads them without reflection or allocation.
type Value struct {
	kind Kind
	more int32            // List: elements left out
	num  uint64           // Bool, Int, Float (bits), Duration
	str  string           // String; Unreadable: the reason; List: why elements were left out
	list []Value          // List elements; Struct fields in the Type's order; Map values in the order of their keys
	keys []string         // Map: sorted
	at   map[string]int32 // Map: key → index in list
}

// UnreadableValue is a fact that could not be found out, and why.
func UnreadableValue(reason string) Value { return Value{kind: Unreadable, str: reason} }

// AbsentValue is a fact that the host does not have.
func AbsentValue() Value { return Value{kind: Absent} }

// BoolValue makes a Bool.
func BoolValue(b bool) Value {
	v := Value{kind: Bool}
	if b {
		v.num = 1
	}
	return v
}

// IntValue makes an Int.
func IntValue(i int64) Value { return Value{kind: Int, num: uint64(i)} }

// FloatValue makes a Float.
func FloatValue(f float64) Value { return Value{kind: Float, num: math.Float64bits(f)} }

// DurationValue makes a Duration.
func DurationValue(d time.Duration) Value { return Value{kind: Duration, num: uint64(d)} }

// StringValue makes a String.
func StringValue(s string) Value { return Value{kind: String, str: s} }

// ListValue makes a List of elems; more says how many further elements were left out.
func ListValue(elems []Value, more int) Value {
	return Value{kind: List, list: elems, more: int32(min(more, math.MaxInt32))}
}

// CutValue makes a List that left out more elements, and says why.
func CutValue(elems []Value, more int, why string) Value {
	v := ListValue(elems, more)
	v.str = why
	return v
}

// StructValue makes a Struct of fields in their Type's order.
func StructValue(fields []Value) Value { return Value{kind: Struct, list: fields} }

// MapValue makes a Map.
func MapValue(m map[string]Value) Value {
	v := Value{kind: Map, at: make(map[string]int32, len(m)), list: make([]Value, 0, len(m))}
	for k := range m {
		v.keys = append(v.keys, k)
	}
	slices.Sort(v.keys)
	for i, k := range v.keys {
		v.at[k] = int32(i)
		v.list = append(v.list, m[k])
	}
	return v
}

// Kind says what the Value is.
func (v *Value) Kind() Kind { return v.kind }

// Known reports whether there is a value at all: neither Absent nor Unreadable.
func (v *Value) Known() bool { return v.kind > Absent }

// Reason says why an Unreadable value is so.
func (v *Value) Reason() string { return v.str }

// Bool is the value of a Bool. As with Int, Float, Duration and Str, on another kind the answer has no meaning.
func (v *Value) Bool() bool { return v.num != 0 }

// Int is the value of an Int.
func (v *Value) Int() int64 { return int64(v.num) }

// Float is the value of a Float.
func (v *Value) Float() float64 { return math.Float64frombits(v.num) }

// Duration is the value of a Duration.
func (v *Value) Duration() time.Duration { return time.Duration(v.num) }

// Str is the value of a String.
func (v *Value) Str() string { return v.str }

// Len is the number of elements of a List or Map, or of fields of a Struct.
func (v *Value) Len() int { return len(v.list) }

// More is how many elements a List left out.
func (v *Value) More() int { return int(v.more) }

// At is element i of a List or Map, or field i of a Struct.
func (v *Value) At(i int) *Value { return &v.list[i] }

// Keys are a Map's keys, sorted.
func (v *Value) Keys() []string { return v.keys }

// Lookup is a Map's value under key, or nil.
func (v *Value) Lookup(key string) *Value {
	if i, ok := v.at[key]; ok {
		return &v.list[i]
	}
	return nil
}

// Equal reports whether two values of one Type are the same, NaN equal to itself.
func (v *Value) Equal(w *Value) bool {
	return v.kind == w.kind && v.num == w.num && v.str == w.str && v.more == w.more && slices.Equal(v.keys, w.keys) &&
		slices.EqualFunc(v.list, w.list, func(a, b Value) bool { return a.Equal(&b) })
}

// AppendJSON appends v, a value of type t, as JSON: a Duration as a string like "1.5s", an Absent value as null, an
// Unreadable one as {"unreadable": reason}, a list that was cut short as {"items": […], "more": n},
// with "why" if that was not for its length.
func (t *Type) AppendJSON(dst []byte, v *Value) []byte {
	switch v.kind {
	case Unreadable:
		return append(appendString(append(dst, `{"unreadable":`...), v.str), '}')
	case Absent:
		return append(dst, "null"...)
	case Bool:
		return strconv.AppendBool(dst, v.Bool())
	case Int:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Float:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.AppendFloat(dst, f, 'g', -1, 64)
		}
		return append(dst, "null"...)
	case Duration:
		return appendString(dst, v.Duration().String())
	case String:
		return appendString(dst, v.str)
	case List:
		if v.more > 0 {
			dst = append(dst, `{"items":`...)
		}
		dst = append(dst, '[')
		for i := range v.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = t.Elem.AppendJSON(dst, &v.list[i])
		}
		dst = append(dst, ']')
		if v.more > 0 {
			dst = strconv.AppendInt(append(dst, `,"more":`...), int64(v.more), 10)
			if v.str != "" {
				dst = appendString(append(dst, `,"why":`...), v.str)
			}
			dst = append(dst, '}')
		}
		return dst
	case Struct:
		dst = append(dst, '{')
		for i := range v.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, t.Fields[i].Name), ':')
			dst = t.Fields[i].Type.AppendJSON(dst, &v.list[i])
		}
		return append(dst, '}')
	case Map:
		dst = append(dst, '{')
		for i, k := range v.keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, k), ':')
			dst = t.Elem.AppendJSON(dst, &v.list[i])
		}
		return append(dst, '}')
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s) // replaces invalid UTF-8, which file names and kernel messages may hold
	if err != nil {
		return append(dst, `""`...)
	}
	return append(dst, b...)
}

// Decode makes a Value of type t from what a YAML or JSON decoder returned for it (the form that AppendJSON writes). A
// struct field that is not given is Absent if it is optional and Unreadable otherwise; an unknown field is an error.
func (t *Type) Decode(x any) (Value, error) {
	if x == nil {
		if !t.Optional {
			return Value{}, fmt.Errorf("null for %s, which is not optional", t)
		}
		return AbsentValue(), nil
	}
	if m, ok := x.(map[string]any); ok && len(m) == 1 {
		if why, ok := m["unreadable"].(string); ok {
			return UnreadableValue(why), nil
		}
	}
	switch t.Kind {
	case List:
		return t.decodeList(x)
	case Struct:
		return t.decodeStruct(x)
	case Map:
		return t.decodeMap(x)
	default:
		return t.decodeScalar(x)
	}
}

func (t *Type) decodeScalar(x any) (Value, error) {
	switch t.Kind {
	case Bool:
		if b, ok := x.(bool); ok {
			return BoolValue(b), nil
		}
	case Int:
		if i, ok := toInt(x); ok {
			return IntValue(i), nil
		}
	case Float:
		if i, ok := toInt(x); ok {
			return FloatValue(float64(i)), nil
		}
		if f, ok := x.(float64); ok {
			return FloatValue(f), nil
		}
	case Duration:
		if s, ok := x.(string); ok {
			d, err := time.ParseDuration(s)
			return DurationValue(d), err
		}
	case String:
		if s, ok := x.(string); ok {
			return StringValue(s), nil
		}
	default:
	}
	return Value{}, fmt.Errorf("%v (%T) is not a value of type %s", x, x, t)
}

func toInt(x any) (int64, bool) {
	switch n := x.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64: // encoding/json's only number
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	case json.Number:
		i, err := n.Int64()
		return i, err == nil
	}
	return 0, false
}

func (t *Type) decodeList(x any) (Value, error) {
	more, why := int64(0), ""
	if m, ok := x.(map[string]any); ok {
		x = m["items"]
		more, _ = toInt(m["more"])
		why, _ = m["why"].(string)
	}
	items, ok := x.([]any)
	if !ok {
		return Value{}, fmt.Errorf("%T is not a list", x)
	}
	elems := make([]Value, len(items))
	for i, item := range items {
		var err error
		if elems[i], err = t.Elem.Decode(item); err != nil {
			return Value{}, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return CutValue(elems, int(more), why), nil
}

func (t *Type) decodeStruct(x any) (Value, error) {
	m, ok := x.(map[string]any)
	if !ok {
		return Value{}, fmt.Errorf("%T is not a set of facts", x)
	}
	for name := range m {
		if t.Field(name) < 0 {
			return Value{}, fmt.Errorf("no fact %q; there are %v", name, t.fieldNames())
		}
	}
	fields := make([]Value, len(t.Fields))
	for i, f := range t.Fields {
		given, ok := m[f.Name]
		var err error
		switch {
		case ok:
			fields[i], err = f.Type.Decode(given)
		case f.Type.Optional:
			fields[i] = AbsentValue()
		default:
			fields[i] = UnreadableValue("not given")
		}
		if err != nil {
			return Value{}, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return StructValue(fields), nil
}

func (t *Type) decodeMap(x any) (Value, error) {
	m, ok := x.(map[string]any)
	if !ok {
		return Value{}, fmt.Errorf("%T is not a map", x)
	}
	values := make(map[string]Value, len(m))
	for k, item := range m {
		v, err := t.Elem.Decode(item)
		if err != nil {
			return Value{}, fmt.Errorf("%q: %w", k, err)
		}
		values[k] = v
	}
	return MapValue(values), nil
}

// Compare orders two known scalar values of the same kind.
func (v *Value) Compare(w *Value) int {
	switch v.kind {
	case Float:
		return cmp.Compare(v.Float(), w.Float())
	case String:
		return cmp.Compare(v.str, w.str)
	default:
		return cmp.Compare(int64(v.num), int64(w.num))
	}
}
