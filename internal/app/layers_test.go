package app_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rows say who may import whom: only packages of a lower row. A new package gets its row here first.
var rows = [][]string{
	{"internal/sip", "internal/sdp", "internal/stun", "internal/rtp", "internal/digest", "internal/config"},
	{"internal/sip/transport", "internal/account", "internal/relay"},
	{"internal/sip/transaction", "internal/registrar"},
	{"internal/call", "internal/agent/programme"},
	{"internal/proxy", "internal/agent"},
	{"internal/store"},
	{},
	{"internal/app"},
	{"cmd/liaison"},
}

// outside may import every room; no room may import them.
var outside = []string{"e2e", "bench"}

// imported is one import of one of the project's packages by another one.
type imported struct {
	file     string // where
	from, to string // folders
	test     bool   // in a _test.go file
}

// The imports are read from the files themselves: a test that asked the go command would be answered from its cache.
func imports(t *testing.T) []imported {
	t.Helper()
	const module = "liaison/"
	root := filepath.Join("..", "..")
	var all []imported
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		i := imported{file: rel, from: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go")}
		all = append(all, i) // so that a package without imports is known too
		for _, spec := range syntax.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if to, ok := strings.CutPrefix(name, module); ok {
				i.to = to
				all = append(all, i)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func row(folder string) int {
	return slices.IndexFunc(rows, func(names []string) bool { return slices.Contains(names, folder) })
}

func isOutside(folder string) bool {
	return slices.ContainsFunc(outside, func(o string) bool { return folder == o || strings.HasPrefix(folder, o+"/") })
}

func TestImportsRunOneWay(t *testing.T) {
	for _, i := range imports(t) {
		if isOutside(i.from) {
			continue
		}
		from := row(i.from)
		if from < 0 {
			t.Errorf("%s: the package %s has no row", i.file, i.from)
			continue
		}
		if i.to == "" || i.to == i.from {
			continue
		}
		// A test may stand on any room, for example on siptest; the others may not.
		if i.test {
			continue
		}
		to := row(i.to)
		switch {
		case isOutside(i.to):
			t.Errorf("%s imports %s, which only tests and measures", i.file, i.to)
		case to < 0:
			t.Errorf("%s imports %s, which has no row", i.file, i.to)
		case to >= from:
			t.Errorf("%s (row %d) imports %s (row %d)", i.file, from, i.to, to)
		}
	}
}

// A room gets its own fields, so that it can be built and tested without a file.
func TestConfigReachesOnlyTheProgram(t *testing.T) {
	for _, i := range imports(t) {
		if i.to == "internal/config" && !slices.Contains([]string{"internal/config", "internal/app", "cmd/liaison"}, i.from) {
			t.Errorf("%s imports internal/config: hand it the fields that it needs", i.file)
		}
	}
}

func TestEveryRowIsAPackage(t *testing.T) {
	all := imports(t)
	for _, names := range rows {
		for _, name := range names {
			if !slices.ContainsFunc(all, func(i imported) bool { return i.from == name }) {
				t.Errorf("%s has a row and no file", name)
			}
		}
	}
}
