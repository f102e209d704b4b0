package kind

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"qsuper/internal/pattern"
)

// Bounds on a file, so that a hostile or broken one is refused at once.
const (
	MaxFile  = 1 << 20 // bytes
	maxDepth = 64      // maps and lists inside each other
	maxNodes = 200_000 // values, those behind aliases counted each time they are used
	maxParts = 200_000 // lines and commas: what the YAML parser may spend memory on

	maxProblems = 1000 // nobody reads more, and each may be long
)

// Parse reads one YAML document. file is the name that problems carry. lookup
// gives the value of a variable of the environment, as os.LookupEnv does; nil
// means that there are none. An empty document is nil without problems.
func Parse(file string, data []byte, lookup func(string) (string, bool)) (*Node, Problems) {
	if lookup == nil {
		lookup = func(string) (string, bool) { return "", false }
	}
	p := parser{file: file, lookup: lookup, done: map[*yaml.Node]*Node{}}
	if len(data) > MaxFile {
		p.add(0, 0, "", fmt.Sprintf("file is larger than %d bytes", MaxFile))
		return nil, p.problems
	}
	if bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+bytes.Count(data, []byte(",")) > maxParts {
		p.add(0, 0, "", fmt.Sprintf("file has more than %d lines and list items", maxParts))
		return nil, p.problems
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !p.clean(data) {
		return nil, p.problems
	}
	doc := p.document(data)
	if doc == nil || len(p.problems) > 0 {
		return nil, p.problems
	}
	root := p.node(doc.Content[0], "", 0)
	p.problems.Sort()
	if root == nil || root.Null && !root.Quoted {
		return nil, p.problems
	}
	return root, p.problems
}

type parser struct {
	file     string
	lookup   func(string) (string, bool)
	problems Problems
	done     map[*yaml.Node]*Node // nil while being converted: an alias to itself
	nodes    int
}

func (p *parser) add(line, column int, path, message string) *Problem {
	if len(p.problems) >= maxProblems {
		return new(Problem)
	}
	p.problems = append(p.problems, Problem{File: p.file, Line: line, Column: column, Path: path, Message: message})
	return &p.problems[len(p.problems)-1]
}

// clean refuses bytes that no YAML file holds, with their place: the parser's
// own message names neither the place nor the likely cause.
func (p *parser) clean(data []byte) bool {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			p.add(line, column, "", fmt.Sprintf("byte 0x%02X is not UTF-8", data[i])).Hint = "save the file as UTF-8"
			return false
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			p.add(line, column, "", fmt.Sprintf("control character 0x%02X", r)).Hint = "remove it"
			return false
		}
		i += size
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return true
}

// document runs the YAML parser and refuses a second document.
func (p *parser) document(data []byte) (doc *yaml.Node) {
	defer func() {
		if e := recover(); e != nil { // the parser's own bugs must not take the daemon down
			p.add(0, 0, "", fmt.Sprintf("not valid YAML: %v", e))
			doc = nil
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := dec.Decode(&first); err != nil {
		if !errors.Is(err, io.EOF) {
			p.syntax(err, data)
		}
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		p.add(second.Line, second.Column, "", "a second document starts here").Hint = "one file holds one document; remove the ---"
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err, data)
		return nil
	}
	return &first
}

var (
	yamlError = pattern.Lazy(`(?s)^yaml: (?:line (\d+): )?(.*)$`)
	noAnchor  = pattern.Lazy(`^unknown anchor '(.*)' referenced$`)
	// ${VAR} without quotes behind a brace or bracket.
	bareVariable = pattern.Lazy(`[\[{].*[:,\[] *\$\{`)
	// What yaml.v3's grammar says counts lines from 0, what its scanner says from 1.
	grammar = pattern.Lazy(`^did not find expected (','|'-'|node content|key|<)`)
)

// syntax turns an error of the YAML parser, "yaml: line 3: did not find …", into a problem.
func (p *parser) syntax(err error, data []byte) {
	m := yamlError().FindStringSubmatch(err.Error())
	if m == nil {
		p.add(0, 0, "", "not valid YAML: "+err.Error())
		return
	}
	line, _ := strconv.Atoi(m[1])
	if line == 0 || grammar().MatchString(m[2]) {
		line++
	}
	if a := noAnchor().FindStringSubmatch(m[2]); a != nil { // comes without a line
		before, _, _ := strings.Cut(string(data), "*"+a[1])
		line = 1 + strings.Count(before, "\n")
	}
	problem := p.add(line, 0, "", "not valid YAML: "+m[2])
	problem.Hint = hint(string(data), line)
}

// hint names the mistake that is most likely behind a syntax error in a line.
func hint(data string, line int) string {
	for i, text := range strings.Split(data, "\n") {
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		switch {
		case i+1 < line:
		case strings.Contains(indent, "\t"):
			return fmt.Sprintf("line %d is indented with a tab; use spaces", i+1)
		case i+1 == line && bareVariable().MatchString(text):
			return "put ${…} in quotes inside { } and [ ]"
		}
	}
	return ""
}

// node converts one value and all below it. It returns nil after a problem
// that makes going on pointless.
func (p *parser) node(y *yaml.Node, path string, depth int) *Node {
	if y.Kind == yaml.AliasNode {
		return p.alias(y, path)
	}
	if depth > maxDepth {
		p.add(y.Line, y.Column, path, fmt.Sprintf("nested deeper than %d levels", maxDepth))
		return nil
	}
	if y.Style&yaml.TaggedStyle != 0 {
		p.add(y.Line, y.Column, path, fmt.Sprintf("tag %s is not supported", Quote(y.Tag))).Hint = "remove it"
	}
	n := &Node{File: p.file, Line: y.Line, Column: y.Column, size: 1}
	p.done[y] = nil
	ok := p.count(1, y, path)
	switch y.Kind {
	case yaml.ScalarNode:
		n.Shape = Scalar
		p.scalar(n, y, path)
	case yaml.SequenceNode:
		n.Shape = List
		for i, item := range y.Content {
			c := p.node(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if c == nil {
				return nil
			}
			n.Items = append(n.Items, c)
			n.size += c.size
		}
	case yaml.MappingNode:
		n.Shape = Map
		ok = ok && p.mapping(n, y, path, depth)
	}
	if !ok {
		return nil
	}
	p.done[y] = n
	return n
}

func (p *parser) count(nodes int, y *yaml.Node, path string) bool {
	p.nodes += nodes
	if p.nodes > maxNodes {
		p.add(y.Line, y.Column, path, fmt.Sprintf("holds more than %d values, aliases counted each time", maxNodes))
		return false
	}
	return true
}

// alias shares the node that was converted already: an alias always follows its
// anchor, so the only one that is not there yet is an ancestor of the alias.
func (p *parser) alias(y *yaml.Node, path string) *Node {
	n := p.done[y.Alias]
	if n == nil {
		p.add(y.Line, y.Column, path, fmt.Sprintf("alias *%s holds itself", y.Value))
		return nil
	}
	if !p.count(n.size, y, path) {
		return nil
	}
	return n
}

func (p *parser) mapping(n *Node, y *yaml.Node, path string, depth int) bool {
	first := make(map[string]*yaml.Node, len(y.Content)/2)
	var merged []*Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		if k.Kind != yaml.ScalarNode {
			p.add(k.Line, k.Column, path, "a key must be plain text").Hint = "quote it, or check the indentation and braces"
			return false
		}
		at := Join(path, k.Value)
		if k.Tag != "!!merge" {
			if before := first[k.Value]; before != nil {
				p.add(k.Line, k.Column, at, fmt.Sprintf("key is given twice, first in line %d", before.Line))
				continue
			}
			first[k.Value] = k
		}
		v := p.node(y.Content[i+1], at, depth+1)
		if v == nil {
			return false
		}
		n.size += v.size + 1
		switch {
		case k.Tag != "!!merge":
			n.Entries = append(n.Entries, Entry{&Node{Shape: Scalar, Value: k.Value, File: p.file, Line: k.Line, Column: k.Column}, v})
		case v.Shape == List:
			merged = append(merged, v.Items...)
		default:
			merged = append(merged, v)
		}
	}
	return p.merge(n, merged, path)
}

// merge adds the keys of `<<: *anchor` that are not given in the map itself.
func (p *parser) merge(n *Node, from []*Node, path string) bool {
	for _, m := range from {
		if m.Shape != Map {
			p.add(n.Line, n.Column, Join(path, "<<"), "a merge key needs a map, or a list of maps")
			return false
		}
		for _, e := range m.Entries {
			if n.Get(e.Key.Value) == nil {
				n.Entries = append(n.Entries, e)
			}
		}
	}
	return true
}

func (p *parser) scalar(n *Node, y *yaml.Node, path string) {
	n.Quoted = y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	n.Null = y.Tag == "!!null" && !n.Quoted
	var problems []string
	n.Value, n.From, problems = fill(y.Value, p.lookup)
	n.Filled, n.Bad = len(n.From) > 0, len(problems) > 0
	for _, message := range problems {
		p.add(y.Line, y.Column, path, message)
	}
}
