package kind

import (
	"reflect"
	"strings"
)

// field is one key a struct accepts.
type field struct {
	key      string
	v        reflect.Value
	tag      reflect.StructTag
	required bool
	refused  *string // not nil: not supported yet, except with this value
}

// fieldsOf lists the keys of a struct. v must be addressable.
func fieldsOf(v reflect.Value) []field {
	var fields []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		tag, tagged := sf.Tag.Lookup("yaml")
		key, options, _ := strings.Cut(tag, ",")
		switch {
		case key == "-":
		case sf.Name == "_" && tagged:
			unless := sf.Tag.Get("unless")
			fields = append(fields, field{key: key, refused: &unless})
		case sf.Anonymous && key == "" && sf.Type.Kind() == reflect.Struct:
			fields = append(fields, fieldsOf(v.Field(i))...)
		case tagged && key != "" && sf.IsExported():
			fields = append(fields, field{key: key, v: v.Field(i), tag: sf.Tag, required: strings.Contains(options, "required")})
		}
	}
	return fields
}

// Keys lists every key path a struct accepts, depth first, in the order of its
// fields; those that are not supported yet are left out. A section that may
// also be written short (a scalar instead of a map) is listed with its keys.
func Keys(target any) []string { return keysOf(reflect.New(reflect.TypeOf(target)).Elem(), "") }

func keysOf(v reflect.Value, prefix string) []string {
	var keys []string
	for _, f := range fieldsOf(v) {
		if f.refused != nil {
			continue
		}
		path := Join(prefix, f.key)
		keys = append(keys, path)
		t := f.v.Type()
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() == reflect.Struct {
			keys = append(keys, keysOf(reflect.New(t).Elem(), path)...)
		}
	}
	return keys
}

// Lookup returns the address of the field of *target that key is read into, or
// nil when there is none of that type.
func Lookup[T any](target any, key string) *T {
	for _, f := range fieldsOf(reflect.ValueOf(target).Elem()) {
		if f.key == key && f.refused == nil {
			p, _ := f.v.Addr().Interface().(*T)
			return p
		}
	}
	return nil
}
