package kind

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Decoder fills Go values from Nodes and collects what is wrong; it never stops
// at the first problem. The zero value is ready for use.
type Decoder struct {
	Problems Problems
	Formats  map[string]Format // by the name in the `format:` tag
}

// Format reads one way of writing a scalar. Its result must be assignable, after
// conversion, to the field.
type Format func(text string) (any, error)

// Unmarshaler is a type that reads itself, for what tags cannot say.
type Unmarshaler interface {
	UnmarshalNode(d *Decoder, n *Node, path string)
}

// Beyond so many problems nobody reads the hints, which are costly to find.
const maxHints = 200

// Decode reads a map into pointers to structs. A key that none of them has is a
// problem; one that several have goes to all of them. What the map does not
// mention keeps its value.
func (d *Decoder) Decode(n *Node, path string, targets ...any) {
	if !d.shape(n, path, Map) {
		d.hint(func() string { return asIn(targets) })
		return
	}
	known := map[string][]field{}
	meant := map[string]bool{} // keys that were written, with a typing mistake
	var names []string
	for _, t := range targets {
		for _, f := range fieldsOf(reflect.ValueOf(t).Elem()) {
			if known[f.key] == nil && f.refused == nil {
				names = append(names, f.key)
			}
			known[f.key] = append(known[f.key], f)
		}
	}
	for _, e := range n.Entries {
		at := Join(path, e.Key.Value)
		if known[e.Key.Value] == nil {
			p := d.Problems.Add(e.Key, at, "unknown key")
			if name := Nearest(e.Key.Value, names); name != "" && len(d.Problems) < maxHints {
				p.Hint = DidYouMean(e.Key.Value, names)
				meant[name] = true
			} else {
				d.hint(func() string { return deeper(e.Key.Value, targets) })
			}
		}
		for _, f := range known[e.Key.Value] {
			d.field(f, e, at)
		}
	}
	for _, key := range names {
		if known[key][0].required && n.Get(key) == nil && !meant[key] {
			d.Problems.Add(n, path, "%s is missing", key)
		}
	}
}

// hint gives the latest problem a hint, unless it has one.
func (d *Decoder) hint(find func() string) {
	if p := &d.Problems[len(d.Problems)-1]; p.Hint == "" && len(d.Problems) < maxHints {
		p.Hint = find()
	}
}

// asIn shows how a map is written that was given as something else.
func asIn(targets []any) string {
	var must, may []string
	for _, t := range targets {
		for _, f := range fieldsOf(reflect.ValueOf(t).Elem()) {
			if f.required {
				must = append(must, f.key+": …")
			} else if f.refused == nil {
				may = append(may, f.key+": …")
			}
		}
	}
	const shown = 2
	keys := append(must, may[:min(len(may), max(shown-len(must), 0))]...)
	if len(keys) == 0 {
		return ""
	}
	return "as in {" + strings.Join(keys, ", ") + "}"
}

// deeper finds a key that belongs one level further down.
func deeper(key string, targets []any) string {
	for _, t := range targets {
		for _, path := range Keys(reflect.ValueOf(t).Elem().Interface()) {
			if above, ok := strings.CutSuffix(path, "."+key); ok {
				return fmt.Sprintf("it belongs into %s: {%s: …}", above, key)
			}
		}
	}
	return ""
}

func (d *Decoder) field(f field, e Entry, path string) {
	if f.refused != nil {
		if unless := *f.refused; e.Value.Shape != Scalar || e.Value.Value != unless || unless == "" && e.Value.Null {
			d.Problems.Add(e.Key, path, "not supported yet")
		}
		return
	}
	d.value(e.Value, path, f.v, f.tag)
}

// Value reads one node into the value that target points to, as if it were a
// field with this tag.
func (d *Decoder) Value(n *Node, path string, target any, tag reflect.StructTag) {
	d.value(n, path, reflect.ValueOf(target).Elem(), tag)
}

var durationType = reflect.TypeFor[time.Duration]()

func (d *Decoder) value(n *Node, path string, v reflect.Value, tag reflect.StructTag) {
	if n.Bad {
		return
	}
	if n.Null {
		d.Problems.Add(n, path, "has no value").Hint = "give one, or remove the key"
		return
	}
	if u, ok := v.Addr().Interface().(Unmarshaler); ok {
		u.UnmarshalNode(d, n, path)
		return
	}
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		d.value(n, path, fresh.Elem(), tag)
		v.Set(fresh)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if d.shape(n, path, Scalar) {
			d.wrong(n, path, u.UnmarshalText([]byte(n.Value)))
		}
		return
	}
	if name := tag.Get("format"); name != "" && v.Kind() != reflect.Slice {
		d.formatted(n, path, v, name)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.Decode(n, path, v.Addr().Interface())
	case reflect.Slice:
		d.list(n, path, v, tag)
	case reflect.Map:
		d.dictionary(n, path, v, tag)
	default:
		if d.shape(n, path, Scalar) {
			d.scalar(n, path, v, tag)
		}
	}
}

func (d *Decoder) formatted(n *Node, path string, v reflect.Value, name string) {
	if name == "path" {
		var p Path
		p.UnmarshalNode(d, n, path)
		v.SetString(string(p))
		return
	}
	read, ok := d.Formats[name]
	if !ok {
		panic(fmt.Sprintf("%s: format %q is not known to this decoder", path, name))
	}
	if !d.shape(n, path, Scalar) {
		return
	}
	got, err := read(n.Value)
	if d.wrong(n, path, err) {
		v.Set(reflect.ValueOf(got).Convert(v.Type()))
	}
}

func (d *Decoder) list(n *Node, path string, v reflect.Value, tag reflect.StructTag) {
	if !d.shape(n, path, List) {
		if n.Shape == Scalar {
			d.Problems[len(d.Problems)-1].Hint = "put it in brackets: [ … ]"
		}
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		d.value(item, fmt.Sprintf("%s[%d]", path, i), out.Index(i), tag)
	}
	v.Set(out)
}

func (d *Decoder) dictionary(n *Node, path string, v reflect.Value, tag reflect.StructTag) {
	if !d.shape(n, path, Map) {
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.Entries))
	for _, e := range n.Entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, Join(path, e.Key.Value), item, tag)
		out.SetMapIndex(reflect.ValueOf(e.Key.Value).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

func (d *Decoder) scalar(n *Node, path string, v reflect.Value, tag reflect.StructTag) {
	switch {
	case v.Type() == durationType:
		t, err := ParseDuration(n.Value)
		if d.wrong(n, path, err) {
			v.SetInt(int64(t))
		}
	case v.Kind() == reflect.String:
		var text string
		if d.text(n, path, &text) && d.oneof(n, path, tag) {
			v.SetString(text)
		}
	case v.Kind() == reflect.Bool:
		d.boolean(n, path, v)
	case v.CanInt(), v.CanUint(), v.CanFloat():
		d.wrong(n, path, setNumber(n, v, tag))
	default:
		panic(fmt.Sprintf("%s: no way to decode a %s", path, v.Type()))
	}
}

// shape reports whether n has the wanted shape, and adds a problem when not.
func (d *Decoder) shape(n *Node, path string, want Shape) bool {
	if n.Shape == want {
		return true
	}
	d.Problems.Add(n, path, "expected %s, got %s", want, n.Got())
	return false
}

// wrong adds err as a problem at n and reports whether there was none. The
// words of the error may hold the value, so they are dropped for a value that
// came from the environment.
func (d *Decoder) wrong(n *Node, path string, err error) bool {
	switch {
	case err == nil:
		return true
	case n.Filled:
		d.Problems.Add(n, path, "the value filled in from the environment is not valid here")
	default:
		d.Problems.Add(n, path, "%v", err)
	}
	return false
}

func (d *Decoder) text(n *Node, path string, text *string) bool {
	if !d.shape(n, path, Scalar) {
		return false
	}
	if strings.ContainsRune(n.Value, 0) {
		d.Problems.Add(n, path, "must not hold a NUL byte")
		return false
	}
	*text = n.Value
	return true
}

func (d *Decoder) oneof(n *Node, path string, tag reflect.StructTag) bool {
	allowed := strings.Fields(tag.Get("oneof"))
	for _, a := range allowed {
		if a == n.Value {
			return true
		}
	}
	if len(allowed) == 0 {
		return true
	}
	p := d.Problems.Add(n, path, "expected one of %s, got %s", strings.Join(allowed, ", "), n.Show())
	if !n.Filled {
		p.Hint = DidYouMean(n.Value, allowed)
	}
	return false
}

func (d *Decoder) boolean(n *Node, path string, v reflect.Value) {
	switch {
	case n.Quoted && !n.Filled:
	case n.Value == "true" || n.Value == "false":
		v.SetBool(n.Value == "true")
		return
	}
	d.Problems.Add(n, path, "expected true or false, got %s", n.Show())
}

func setNumber(n *Node, v reflect.Value, tag reflect.StructTag) error {
	if n.Quoted && !n.Filled {
		return fmt.Errorf("expected a number, got the text %s; remove the quotes", n.Show())
	}
	if v.CanFloat() {
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || f != f || f-f != 0 {
			return fmt.Errorf("expected a number, got %s", n.Show())
		}
		if err := inBounds(f, n, tag); err != nil {
			return err
		}
		v.SetFloat(f)
		return nil
	}
	if digits := strings.TrimLeft(n.Value, "+-"); len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0123456789") == "" {
		return fmt.Errorf("expected a whole number without leading zeros, got %s", n.Show())
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("number %s is too large", n.Show())
	case err != nil:
		return fmt.Errorf("expected a whole number, got %s", n.Show())
	}
	if err := inBounds(float64(i), n, tag); err != nil {
		return err
	}
	if v.CanUint() {
		if i < 0 || v.OverflowUint(uint64(i)) {
			return fmt.Errorf("number %s is out of range", n.Show())
		}
		v.SetUint(uint64(i))
		return nil
	}
	if v.OverflowInt(i) {
		return fmt.Errorf("number %s is too large", n.Show())
	}
	v.SetInt(i)
	return nil
}

func inBounds(f float64, n *Node, tag reflect.StructTag) error {
	low, high := tag.Get("min"), tag.Get("max")
	if l, err := strconv.ParseFloat(low, 64); err == nil && f < l {
		return fmt.Errorf("must be at least %s, got %s", low, n.Show())
	}
	if h, err := strconv.ParseFloat(high, 64); err == nil && f > h {
		return fmt.Errorf("must be at most %s, got %s", high, n.Show())
	}
	return nil
}

// Join appends a key to a YAML path.
func Join(path, key string) string {
	if len(key) > 60 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		key = Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
