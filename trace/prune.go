package trace

import (
	"reflect"
	"time"
)

// pruned is a value for encoding/json without what is zero in it: most of an
// observation is. Decoding it into the same type gives the same value. It works
// on whatever the planner's types are, so that none of their fields can be
// forgotten.
func pruned(v any) any { return prune(reflect.ValueOf(v)) }

func prune(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return prune(v.Elem())
	case v.Type() == reflect.TypeFor[time.Time]():
		return v.Interface()
	case v.Kind() == reflect.Struct:
		fields := map[string]any{}
		gather(v, fields)
		return fields
	case v.Kind() == reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = prune(v.Index(i))
		}
		return list
	}
	return v.Interface()
}

// gather adds the fields of a struct, those of embedded ones among them.
func gather(v reflect.Value, into map[string]any) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case !f.IsExported():
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			gather(v.Field(i), into)
		case !v.Field(i).IsZero():
			into[f.Name] = prune(v.Field(i))
		}
	}
}
