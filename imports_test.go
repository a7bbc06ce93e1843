// Package loratool_test holds the tests of the repository as a whole: which
// package may import which, and what the documents must say.
package loratool_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/loratool/loratool"

// below lists, from the command down, every package of the module and the
// packages of the module that its code may import. Nothing else is allowed;
// a new package needs a row here and a sentence in its doc comment.
//
//	cmd → merge, diff, train → format/validate → format, format/dialect
//	    → format/adapter, format/checkpoint → containers → format/dtype → format/rule
//
// Merge, diff and train do not import each other. Internal packages know no
// format; each row says which of them a package uses.
var below = map[string][]string{
	"cmd/loratool": {
		"diff", "merge", "format", "format/dialect", "format/adapter", "format/checkpoint", "format/safetensors",
		"format/dtype", "format/rule", "internal/linalg", "internal/progress", "internal/publish", "internal/text",
		"internal/report", "testdata/stories260k", "format/adapter/names", "internal/lowrank", "merge/compose", "train",
		"train/corpus", "format/binding", "format/note", "format/normalize", "format/validate", "spec",
		"internal/strictjson",
	},
	"merge": {
		"format", "format/dialect", "format/adapter", "format/checkpoint", "format/safetensors", "format/dtype",
		"format/rule", "internal/linalg", "internal/mmap", "internal/publish", "internal/strictjson", "internal/text",
		"format/adapter/names", "internal/philox", "format/binding", "format/record",
	},
	"merge/compose": {
		"format/adapter", "format/checkpoint", "format/dtype", "format/note", "format/rule", "internal/linalg",
		"internal/lowrank", "internal/mmap", "internal/philox", "internal/text",
	},
	"diff": {
		"format", "format/adapter", "format/adapter/names", "format/checkpoint", "format/safetensors", "format/dtype",
		"format/rule", "internal/linalg", "internal/lowrank", "internal/mmap", "internal/report", "internal/text",
	},
	"format": {
		"format/dialect", "format/adapter", "format/checkpoint", "format/safetensors", "format/dtype", "format/rule",
		"internal/strictjson",
	},
	"format/dialect": {
		"format/adapter", "format/checkpoint", "format/safetensors", "format/dtype", "format/rule", "internal/mmap",
		"internal/publish", "internal/strictjson", "internal/text", "format/note",
	},
	"format/adapter": {
		"format/checkpoint", "format/safetensors", "format/dtype", "format/rule", "internal/linalg", "internal/mmap",
		"internal/text", "format/adapter/names", "format/note",
	},
	"format/checkpoint": {
		"format/safetensors", "format/dtype", "format/rule", "internal/strictjson", "internal/text",
	},
	"format/safetensors": {
		"format/dtype", "format/rule", "internal/mmap", "internal/strictjson", "internal/text",
	},
	"format/dtype": {
		"format/rule", "internal/text",
	},
	"format/rule": {
		"internal/text",
	},
	"internal/crc":    {},
	"internal/linalg": {},
	"internal/lowrank": {
		"internal/linalg", "internal/text",
	},
	"internal/mmap": {},
	"internal/progress": {
		"internal/text",
	},
	"internal/publish": {
		"internal/text",
	},
	"internal/philox": {},
	"internal/report": {
		"internal/text",
	},
	"internal/strictjson": {},
	"internal/text":       {},
	"test/digests": {
		"format/dtype", "format/safetensors",
	},
	"test/fault": {}, // drives the built command only
	"bench/shapes": {
		"format/dtype", "format/safetensors",
	},
	"format/adapter/names": {
		"format/dtype", "format/rule", "internal/text",
	},
	"train": {
		"train/internal/backend", "train/internal/backend/cpu", "train/internal/backend/cuda", "train/internal/data",
		"train/internal/model", "format/dialect", "format/adapter", "format/checkpoint", "format/safetensors",
		"format/dtype", "format/rule", "internal/linalg", "internal/mmap", "internal/publish", "internal/strictjson",
		"internal/text",
	},
	"train/internal/model": {
		"train/internal/backend", "train/internal/data", "format/dtype", "format/rule", "internal/strictjson",
		"internal/text",
	},
	"train/corpus": {
		"train/internal/chat", "train/internal/data", "train/internal/tokenizer", "format/rule", "format/safetensors",
		"internal/strictjson",
	},
	"train/internal/tokenizer": {
		"format/rule", "format/safetensors", "internal/strictjson",
	},
	"train/internal/chat": {
		"format/rule", "internal/strictjson",
	},
	"train/internal/data": {},
	"train/internal/backend": {
		"format/dtype",
	},
	"train/internal/backend/cuda": {
		"train/internal/backend", "format/dtype", "format/rule", "train/internal/backend/cpu",
	},
	"train/internal/backend/cpu": {
		"train/internal/backend", "format/dtype", "internal/linalg", "internal/mmap",
	},
	"spec": {
		"format/rule",
	},
	"spec/internal/vectors": {
		"merge", "format/dialect", "format/checkpoint", "format/dtype", "format/record",
	},
	"format/normalize": {
		"format/validate", "format/dialect", "format/adapter", "format/checkpoint", "format/dtype", "format/note",
		"format/rule", "format/binding", "internal/mmap",
	},
	"format/validate": {
		"format/binding", "format/dialect", "format/adapter", "format/checkpoint", "format/note", "format/safetensors",
		"format/dtype", "format/rule", "internal/mmap", "internal/text",
	},
	"format/binding": {
		"format/dialect", "format/adapter", "format/checkpoint", "format/note", "format/safetensors", "format/dtype",
		"format/rule", "internal/mmap", "internal/publish", "internal/strictjson",
	},
	"format/note": {
		"format/safetensors", "format/dtype", "format/rule", "internal/strictjson",
	},
	"interop/logits": {
		"train", "format/checkpoint", "format/dialect", "format/dtype",
	},
	"format/record": {
		"format/rule", "internal/crc", "internal/strictjson",
	},
}

// thirdParty says which packages may import a module of others. A row that
// ends in ".go" allows one file.
var thirdParty = map[string][]string{
	"github.com/edsrzf/mmap-go": {
		"internal/mmap",
	},
	"github.com/nlpodyssey/safetensors": {
		"format/safetensors/nlpodyssey.go",
	},
	"github.com/spf13/cobra": {
		"cmd/loratool",
	},
	"github.com/spf13/pflag": {
		"cmd/loratool",
	},
	"golang.org/x/sys": {
		"format/dtype", "internal/crc", "internal/linalg", "internal/mmap", "internal/publish", "merge",
	},
	"golang.org/x/term": {
		"cmd/loratool", "internal/progress",
	},
	"gorgonia.org/cu": {
		"train/internal/backend/cuda",
	},
	"golang.org/x/text": {
		"format/safetensors", "train/internal/tokenizer",
	},
	"github.com/klauspost/compress": {
		"format/record",
	},
}

// testOnly lists the modules that any test may import and nothing else.
var testOnly = []string{
	"github.com/go-json-experiment/json",
	"github.com/google/go-cmp",
	"github.com/nlpodyssey/safetensors",
	"github.com/rogpeppe/go-internal",
	"gonum.org/v1/gonum",
	"pgregory.net/rapid",
}

// edge lists the packages that may speak to the process around them.
var edge = []string{"cmd/loratool", "bench/shapes", "spec/internal/vectors", "interop/logits"}

// noLibrary lists what libraries must not use: they never print, log, exit or
// read the environment.
var noLibrary = map[string][]string{
	"os":  {"Stdin", "Stdout", "Stderr", "Exit", "Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "UserHomeDir", "Args"},
	"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

// noLibraryImports lists packages that only the edge and tests may import.
var noLibraryImports = []string{"flag", "log", "log/slog", "os/exec", "os/signal", "testing"}

// A source is one parsed Go file.
type source struct {
	dir  string // of its package, with slashes, relative to the module
	name string
	ast  *ast.File
}

func (s source) path() string { return path.Join(s.dir, s.name) }
func (s source) test() bool   { return strings.HasSuffix(s.name, "_test.go") }

// sources parses every Go file of the module, whatever its build tags.
func sources(t *testing.T) (files []source) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipDir(p, entry.Name())
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, name := path.Split(filepath.ToSlash(p))
		files = append(files, source{path.Clean(dir), name, parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipDir leaves out what is no package of this module.
func skipDir(p, name string) error {
	if p == "." {
		return nil
	}
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
		return fs.SkipDir // a module of its own, such as tools/asmgen
	}
	return nil
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.dir == "." && s.test() {
			continue // this package
		}
		seen[s.dir] = true
		if _, ok := below[s.dir]; !ok {
			t.Errorf("%s: package %s has no row in the table", s.path(), s.dir)
			continue
		}
		for _, spec := range s.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			checkImport(t, s, imported)
		}
	}
	for pkg, row := range below {
		if !seen[pkg] {
			t.Errorf("row %s: there is no such package", pkg)
		}
		for _, lower := range row {
			if _, ok := below[lower]; !ok && !strings.HasPrefix(lower, "testdata/") {
				t.Errorf("row %s: %s has no row", pkg, lower)
			}
		}
	}
}

// checkImport holds one import against the tables.
func checkImport(t *testing.T, s source, imported string) {
	t.Helper()
	first, _, _ := strings.Cut(imported, "/")
	own, isOwn := strings.CutPrefix(imported, module+"/")
	switch {
	case isOwn:
		// A test may use every library to make its inputs, and its own package.
		if s.test() && !strings.HasPrefix(own, "cmd/") || slices.Contains(below[s.dir], own) {
			return
		}
		t.Errorf("%s imports %s: not in the table", s.path(), own)
	case strings.Contains(first, "."):
		checkThirdParty(t, s, imported)
	default:
		if slices.Contains(noLibraryImports, imported) && !s.test() && !slices.Contains(edge, s.dir) {
			t.Errorf("%s imports %s: only the command does", s.path(), imported)
		}
	}
}

func checkThirdParty(t *testing.T, s source, imported string) {
	t.Helper()
	inModule := func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }
	if s.test() && slices.ContainsFunc(testOnly, inModule) {
		return
	}
	for m := range maps.Keys(thirdParty) {
		if inModule(m) && (slices.Contains(thirdParty[m], s.dir) || slices.Contains(thirdParty[m], s.path())) {
			return
		}
	}
	t.Errorf("%s imports %s: not in the table", s.path(), imported)
}

// TestLibraries checks that no library prints, logs, exits, reads the
// environment or has an init function.
func TestLibraries(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		library := !slices.Contains(edge, s.dir)
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s has an init function", s.path())
				}
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
					t.Errorf("%s calls %s", s.path(), f.Name)
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && library && slices.Contains(noLibrary[x.Name], n.Sel.Name) {
					t.Errorf("%s uses %s.%s", s.path(), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestPackageComments checks that every package says what lives in it.
func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if strings.HasSuffix(s.ast.Name.Name, "_test") {
			continue
		}
		documented[s.dir] = documented[s.dir] || s.ast.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// TestExamples checks that every library shows how it is used.
func TestExamples(t *testing.T) {
	has := map[string]bool{}
	for _, s := range sources(t) {
		if s.ast.Name.Name == "main" || s.dir == "." || s.dir == "test/fault" || s.dir == "test/digests" {
			continue
		}
		if !has[s.dir] {
			has[s.dir] = false // a row for the package
		}
		for _, d := range s.ast.Decls {
			f, ok := d.(*ast.FuncDecl)
			has[s.dir] = has[s.dir] || ok && s.test() && strings.HasPrefix(f.Name.Name, "Example")
		}
	}
	for dir, ok := range has {
		if !ok {
			t.Errorf("package %s has no Example", dir)
		}
	}
}
