package kind

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Key is one key that a struct accepts, in the words of documentation.
type Key struct {
	Path     string // a.b for the keys of a map in it
	Type     string // with the bounds of a number, or the values that are allowed
	Default  string // as it would be written; "" = none that can be written
	Required bool
	Field    string // package path, type and field, whose comment says what the key does
}

// Describe lists the keys that *target accepts, as Keys does, with its present
// values as defaults.
func Describe(target any) []Key { return describe(reflect.ValueOf(target).Elem(), "") }

func describe(v reflect.Value, prefix string) []Key {
	var keys []Key
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		key, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if sf.Anonymous && key == "" && sf.Type.Kind() == reflect.Struct {
			keys = append(keys, describe(v.Field(i), prefix)...)
		}
		if key == "" || key == "-" || !sf.IsExported() {
			continue
		}
		k := Key{
			Path: Join(prefix, key), Type: typeInWords(sf.Type, sf.Tag), Required: strings.Contains(options, "required"),
			Field: v.Type().PkgPath() + "." + v.Type().Name() + "." + sf.Name,
		}
		if !k.Required {
			k.Default = written(v.Field(i), sf.Tag)
		}
		keys = append(keys, k)
		inner := sf.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			nested := reflect.New(inner).Elem()
			if v.Field(i).Kind() == reflect.Struct {
				nested = v.Field(i)
			}
			keys = append(keys, describe(nested, k.Path)...)
		}
	}
	return keys
}

// formatWords are what values with a `format:` tag are.
var formatWords = map[string]string{"octal": "octal number", "percent": "percentage", "wait_for": "idle, or nothing", "scope": "process, group or tree"}

func typeInWords(t reflect.Type, tag reflect.StructTag) string {
	switch format := tag.Get("format"); {
	case t.Kind() == reflect.Slice:
		return "list of " + typeInWords(t.Elem(), tag)
	case t.Kind() == reflect.Pointer:
		return typeInWords(t.Elem(), tag)
	case formatWords[format] != "":
		return formatWords[format]
	case format != "":
		return format
	case tag.Get("oneof") != "":
		return strings.Join(strings.Fields(tag.Get("oneof")), ", ")
	case t == durationType:
		return "duration"
	case t == reflect.TypeFor[Size]():
		return "size"
	case t == reflect.TypeFor[Path]():
		return "path"
	case t == reflect.TypeFor[Secret]():
		return "text, kept secret"
	}
	words := "text"
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "map"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		words = "number"
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		words = "whole number"
	}
	if low, high := tag.Get("min"), tag.Get("max"); high != "" {
		words += ", " + low + " to " + high
	} else if low != "" {
		words += " from " + low
	}
	return words
}

// written is a value as a file has it.
func written(v reflect.Value, tag reflect.StructTag) string {
	switch format := tag.Get("format"); {
	case v.Kind() == reflect.Struct || v.Kind() == reflect.Map || v.Kind() == reflect.Pointer && v.IsNil():
		return ""
	case v.Kind() == reflect.Pointer:
		return written(v.Elem(), tag)
	case v.Kind() == reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = written(v.Index(i), tag)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case v.Type() == durationType:
		text := time.Duration(v.Int()).String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if v.Int() == 0 {
			return "0"
		}
		return strings.TrimSuffix(text, "0m")
	case v.Type() == reflect.TypeFor[Size](), format == "size":
		if n := v.Int(); n > 0 && n%(1<<20) == 0 {
			return strconv.FormatInt(n>>20, 10) + "MiB"
		}
	case format == "octal":
		return fmt.Sprintf(`"%04o"`, v.Uint())
	case format == "percent":
		return fmt.Sprintf("%.0f%%", 100*v.Float())
	}
	return fmt.Sprint(v.Interface())
}
