package kind

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Registry holds the types of one `type:`-tagged section: K describes a type
// and S is what a section of that type decodes to. It is filled by init
// functions and only read afterwards.
type Registry[K, S any] struct {
	entries map[string]registered[K, S]
}

type registered[K, S any] struct {
	kind   K
	decode func(d *Decoder, n *Node, path string) S
}

// Add registers a type. It panics when the name is taken: two backends with one
// name are a mistake of the program, not of the user.
func (r *Registry[K, S]) Add(name string, k K, decode func(d *Decoder, n *Node, path string) S) {
	if _, taken := r.entries[name]; taken || name == "" {
		panic(fmt.Sprintf("type %q is registered twice or has no name", name))
	}
	if r.entries == nil {
		r.entries = map[string]registered[K, S]{}
	}
	r.entries[name] = registered[K, S]{k, decode}
}

// Lookup returns the description of a type.
func (r *Registry[K, S]) Lookup(name string) (K, bool) {
	e, ok := r.entries[name]
	return e.kind, ok
}

// Names returns the names of all types, sorted.
func (r *Registry[K, S]) Names() []string { return slices.Sorted(maps.Keys(r.entries)) }

// Kinds returns all descriptions, sorted by name.
func (r *Registry[K, S]) Kinds() []K {
	kinds := make([]K, 0, len(r.entries))
	for _, name := range r.Names() {
		kinds = append(kinds, r.entries[name].kind)
	}
	return kinds
}

// Decode reads a section as the named type; the error is a Problems.
func (r *Registry[K, S]) Decode(name string, n *Node, path string) (S, error) {
	var d Decoder
	e, ok := r.entries[name]
	if !ok {
		var none S
		at, shown := n, Quote(name)
		if t := n.Get("type"); t != nil {
			at, shown = t.Value, t.Value.Show()
		}
		problem := d.Problems.Add(at, path+".type", "unknown type %s", shown)
		if !at.Filled {
			problem.Hint = DidYouMean(name, r.Names())
		}
		if problem.Hint == "" {
			problem.Hint = "one of " + strings.Join(r.Names(), ", ")
		}
		return none, d.Problems
	}
	s := e.decode(&d, n, path)
	d.Problems.Sort()
	return s, d.Problems.Err()
}
