package app_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/rfc.md instead of comparing it")

// rule is a comment that begins with the section of an RFC: // RFC 3261 16.6 step 4.
type rule struct {
	rfc     int
	section string
	rest    string // what the comment says after the section
	file    string
	place   string // the declaration that it stands in: lines would be stale after every change
}

var ruleComment = regexp.MustCompile(`^//\s*RFC ([0-9]{3,5}) ((?:[0-9]+|[A-Z])(?:\.[0-9]+)*)\b[.:,]?\s*(.*)$`)

func rules(t *testing.T) []rule {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []rule
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			for _, group := range syntax.Comments {
				for i, c := range group.List {
					m := ruleComment.FindStringSubmatch(c.Text)
					if m == nil {
						continue
					}
					rfc, _ := strconv.Atoi(m[1])
					all = append(all, rule{rfc, m[2], sentence(m[3], group.List[i+1:]), filepath.ToSlash(name), place(syntax, c.Pos())})
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// sentence is the first sentence of a comment, which may go on in the lines below.
func sentence(text string, below []*ast.Comment) string {
	for _, c := range below {
		line := strings.TrimSpace(strings.TrimPrefix(c.Text, "//"))
		if line == "" || ruleComment.MatchString(c.Text) {
			break
		}
		text += " " + line
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), ". ")
	return strings.TrimSuffix(text, ".")
}

// place names the declaration around or right below a position.
func place(file *ast.File, pos token.Pos) string {
	for _, d := range file.Decls {
		start := d.Pos()
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil {
				start = d.Doc.Pos()
			}
			if pos >= start && pos <= d.End() {
				return funcName(d)
			}
		case *ast.GenDecl:
			if d.Doc != nil {
				start = d.Doc.Pos()
			}
			if pos < start || pos > d.End() {
				continue
			}
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && (pos <= s.End() || len(d.Specs) == 1) {
					return s.Name.Name
				}
				if s, ok := s.(*ast.ValueSpec); ok && (pos <= s.End() || len(d.Specs) == 1) {
					return s.Names[0].Name
				}
			}
		}
	}
	return ""
}

func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name + "." + d.Name.Name
	}
	return d.Name.Name
}

// index is docs/rfc.md: by RFC, then by section, then by file.
func index(all []rule) []byte {
	slices.SortStableFunc(all, func(a, b rule) int {
		if a.rfc != b.rfc {
			return a.rfc - b.rfc
		}
		if c := compareSections(a.section, b.section); c != 0 {
			return c
		}
		return strings.Compare(a.file+" "+a.place, b.file+" "+b.place)
	})
	var out bytes.Buffer
	out.WriteString("# Rules and where they are kept\n\nCollected from the comments of the form `// RFC 3261 16.6 step 4.` by `make generate`. Do not edit.\n")
	last := 0
	for _, r := range all {
		if r.rfc != last {
			fmt.Fprintf(&out, "\n## RFC %d\n\n| section | where | what |\n| --- | --- | --- |\n", r.rfc)
			last = r.rfc
		}
		where := fmt.Sprintf("[%s](../%s)", r.file, r.file)
		if r.place != "" {
			where += " `" + r.place + "`"
		}
		fmt.Fprintf(&out, "| [%s](https://www.rfc-editor.org/rfc/rfc%d#%s) | %s | %s |\n", r.section, r.rfc, anchor(r.section), where, strings.ReplaceAll(r.rest, "|", `\|`))
	}
	return out.Bytes()
}

// anchor is how the RFC editor's pages name a section.
func anchor(section string) string {
	if section[0] >= 'A' {
		return "appendix-" + section
	}
	return "section-" + section
}

func compareSections(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	return slices.CompareFunc(as, bs, func(x, y string) int {
		n, errX := strconv.Atoi(x)
		m, errY := strconv.Atoi(y)
		if errX != nil || errY != nil {
			return strings.Compare(x, y)
		}
		return n - m
	})
}

func TestRFCIndex(t *testing.T) {
	const file = "../../docs/rfc.md"
	want := index(rules(t))
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run make generate", err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/rfc.md is stale; run make generate")
	}
}
