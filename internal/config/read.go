package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The file is walked as a syntax tree instead of being decoded into a struct, because a decoder stops at its first
// error and forgets lines: an operator who upgrades wants to see everything that is wrong at once, each with its line.

// reader collects what is wrong while the tree is walked.
type reader struct {
	file string
	errs Errors
}

// field is a known key and what to do with its value.
type field struct {
	key   string
	where string // the key with those above it, for errors: sip.udp
	read  func(*reader, ast.Node)
}

// read fills c from the text, and reports all errors.
func read(name string, text []byte, c *Config) Errors {
	r := &reader{file: name}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		r.syntax(err)
		return r.errs
	}
	documents := 0
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if documents++; documents > 1 {
			r.fail(doc.Body, "a second document; the configuration is one")
			break
		}
		r.mapping(doc.Body, "", fields(c))
	}
	slices.SortStableFunc(r.errs, func(a, b Error) int { return a.Line - b.Line })
	return r.errs
}

// syntax reports what is not YAML, without the parser's many-line excerpt.
func (r *reader) syntax(err error) {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		r.errs = append(r.errs, Error{r.file, e.GetToken().Position.Line, "not YAML: " + e.GetMessage()})
		return
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	r.errs = append(r.errs, Error{r.file, 1, "not YAML: " + first})
}

func (r *reader) fail(n ast.Node, format string, args ...any) {
	r.errs = append(r.errs, Error{r.file, n.GetToken().Position.Line, fmt.Sprintf(format, args...)})
}

// mapping reads a node whose keys are the given ones; where says which key it is the value of.
func (r *reader) mapping(n ast.Node, where string, known []field) {
	if n.Type() == ast.NullType { // a key whose values are all commented out
		return
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		if where == "" {
			r.fail(n, "expected keys with values; the keys are %s", keys(known))
		} else {
			r.fail(n, "%s: expected keys with values; the keys are %s", where, keys(known))
		}
		return
	}
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken().Value
		i := slices.IndexFunc(known, func(f field) bool { return f.key == key })
		switch {
		case i >= 0:
			known[i].read(r, it.Value())
		case where == "":
			r.fail(it.Key(), "unknown key %q; the keys are %s", key, keys(known))
		default:
			r.fail(it.Key(), "unknown key %q under %s; the keys there are %s", key, where, keys(known))
		}
	}
}

func keys(known []field) string {
	names := make([]string, len(known))
	for i := range known {
		names[i] = known[i].key
	}
	return strings.Join(names, ", ")
}

// list yields the elements of a list; a lone value is a list of one.
func (r *reader) list(n ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.NullNode:
		return nil
	case *ast.SequenceNode:
		return n.Values
	}
	return []ast.Node{n}
}

// text yields the value as it was written, so that a number like 0123 or 15000 is the text that stands there.
func (r *reader) text(n ast.Node, where string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		r.fail(n, "%s: has no value; give one or take the key out", where)
		return "", false
	}
	r.fail(n, "%s: expected a single value; a value with colons needs quotes", where)
	return "", false
}

// value makes a field whose single value is converted by convert.
func value[T any](key, where string, to *T, convert func(string) (T, error)) field {
	return field{key, where, func(r *reader, n ast.Node) {
		s, ok := r.text(n, where)
		if !ok {
			return
		}
		v, err := convert(s)
		if err != nil {
			r.fail(n, "%s: %v", where, err)
			return
		}
		*to = v
	}}
}

// values makes a field that is a list of values, each of which may yield several.
func values[T any](key, where string, to *[]T, convert func(string) ([]T, error)) field {
	return field{key, where, func(r *reader, n ast.Node) {
		var all []T
		for _, e := range r.list(n) {
			s, ok := r.text(e, where)
			if !ok {
				continue
			}
			v, err := convert(s)
			if err != nil {
				r.fail(e, "%s: %v", where, err)
				continue
			}
			all = append(all, v...)
		}
		*to = all
	}}
}

// later makes a field that is known but that this version cannot serve: to ignore it would promise what is not there.
func later(key, where, why string) field {
	return field{key, where, func(r *reader, n ast.Node) {
		if n.Type() != ast.NullType && len(r.list(n)) > 0 {
			r.fail(n, "%s: %s", where, why)
		}
	}}
}

// section makes a field that has keys of its own.
func section(key string, known ...field) field {
	return sectionAt(key, key, known...)
}

func sectionAt(key, where string, known ...field) field {
	return field{key, where, func(r *reader, n ast.Node) { r.mapping(n, where, known) }}
}

// checked adds a check that needs several values, once they have been read without error.
func checked(f field, check func() error) field {
	return field{f.key, f.where, func(r *reader, n ast.Node) {
		before := len(r.errs)
		f.read(r, n)
		if len(r.errs) > before {
			return
		}
		if err := check(); err != nil {
			r.fail(n, "%s: %v", f.where, err)
		}
	}}
}
