package kind

import "fmt"

// Shape is the form of a Node.
type Shape string

// The three shapes of YAML.
const (
	Scalar Shape = "a single value"
	List   Shape = "a list"
	Map    Shape = "a map"
)

// Node is one value of a file: aliases and merge keys are resolved and `${VAR}`
// is filled in. Nodes may be shared between places of the tree; do not change them.
type Node struct {
	Shape   Shape
	Value   string   // Scalar: its text, not typed yet
	Quoted  bool     // Scalar: written with quotes, or as a block
	Null    bool     // Scalar: nothing, ~ or null
	Filled  bool     // Scalar: holds text from the environment, so it must not be shown
	From    []string // Scalar: the variables of the environment it was filled from
	Bad     bool     // Scalar: could not be filled in, which is reported already
	Items   []*Node  // List
	Entries []Entry  // Map, in the order of the file
	File    string
	Line    int
	Column  int

	size int // nodes below and including this one, aliases counted each time
}

// Entry is one key of a map.
type Entry struct {
	Key   *Node // always a Scalar
	Value *Node
}

// Get returns the entry named key of a map, or nil.
func (n *Node) Get(key string) *Entry {
	if n == nil {
		return nil
	}
	for i := range n.Entries {
		if n.Entries[i].Key.Value == key {
			return &n.Entries[i]
		}
	}
	return nil
}

// Got says what n is, for "expected a list, got …". It does not show the value,
// which may be a password in the wrong place.
func (n *Node) Got() string {
	if n.Null {
		return "nothing"
	}
	return string(n.Shape)
}

// Show renders a scalar for a message: quoted, shortened, and *** when it came
// from the environment.
func (n *Node) Show() string {
	switch {
	case n.Shape != Scalar:
		return string(n.Shape)
	case n.Filled:
		return "***"
	case n.Null:
		return "nothing"
	}
	return Quote(n.Value)
}

// Quote quotes text for a message and shortens it to some 60 bytes.
func Quote(text string) string {
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("%.*q…", most, text[:most])
	}
	return fmt.Sprintf("%q", text)
}

// Incomplete says whether something in n could not be filled in. Then what it says
// as a whole cannot be judged.
func (n *Node) Incomplete() bool {
	if n.Bad {
		return true
	}
	for _, item := range n.Items {
		if item.Incomplete() {
			return true
		}
	}
	for _, e := range n.Entries {
		if e.Value.Incomplete() {
			return true
		}
	}
	return false
}
