// Package spec is the specification of the LoRA adapter format, version 1: its
// text, the JSON Schema of the config, and the vectors, which are small inputs
// with the verdict that a reader must reach. All are files of this folder too,
// for programs in other languages. The package only hands them out; package
// validate holds files against the rules.
package spec

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

//go:generate go run ./internal/vectors

// Text is adapter-v1.md.
//
//go:embed adapter-v1.md
var Text string

// AnnexA is annex-a-record.md.
//
//go:embed annex-a-record.md
var AnnexA string

// Schema is the JSON Schema of adapter_config.json.
//
//go:embed adapter-config.schema.json
var Schema []byte

//go:embed all:vectors
var files embed.FS

// A Vector is an input with the verdict on it.
type Vector struct {
	Name    string
	Expect  string    // "accept", "reject", "unsupported", "merge" or "any"
	Rules   []rule.ID // that the input obeys if it is accepted, else the one that it breaks
	Warn    []rule.ID // warnings of an input that is accepted
	Input   string    // file or folder in the vector's folder
	Base    string    // the base to hold it against, or ""
	Merged  string    // of a record: the merged checkpoint, or ""
	Adapter string    // of a record: the adapter that was merged
	Profile string    // the program that is to serve it, or ""
	Deep    bool      // the fault is in the values, not in the header
	Output  string    // of a merge or a record: the SHA-256 of the merged or restored file
	Comment string    // what is special about the input
	Extend  []Extent  // files that are too big to be stored

	fs fs.FS
}

// An Extent says how long a file is to be made, with spaces at its end.
type Extent struct {
	File string
	Size int64
}

// Vectors returns all vectors in the order of their names.
func Vectors() ([]Vector, error) {
	root, err := fs.Sub(files, "vectors")
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, err
	}
	var all []Vector
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub, err := fs.Sub(root, e.Name())
		if err != nil {
			return nil, err
		}
		v, err := parse(e.Name(), sub)
		if err != nil {
			return nil, fmt.Errorf("vector %s: %w", e.Name(), err)
		}
		all = append(all, v)
	}
	return all, nil
}

// parse reads vector.txt: lines of "key: value".
func parse(name string, folder fs.FS) (Vector, error) {
	v := Vector{Name: name, fs: folder}
	data, err := fs.ReadFile(folder, "vector.txt")
	if err != nil {
		return v, err
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			return v, fmt.Errorf("line %q is no key with a value", line)
		}
		if err := v.set(key, value); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v *Vector) set(key, value string) error {
	ids := func() (list []rule.ID) {
		for f := range strings.FieldsSeq(value) {
			list = append(list, rule.ID(f))
		}
		return list
	}
	switch key {
	case "expect":
		v.Expect = value
	case "rule":
		v.Rules = ids()
	case "warn":
		v.Warn = ids()
	case "input":
		v.Input = value
	case "base":
		v.Base = value
	case "merged":
		v.Merged = value
	case "adapter":
		v.Adapter = value
	case "profile":
		v.Profile = value
	case "deep":
		v.Deep = value == "yes"
	case "sha256":
		v.Output = value
	case "comment":
		v.Comment = value
	case "extend":
		file, size, _ := strings.Cut(value, " ")
		n, err := strconv.ParseInt(size, 10, 64)
		v.Extend = append(v.Extend, Extent{file, n})
		return err
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

// Write writes the files of a vector into an existing folder.
func (v Vector) Write(dir string) error {
	err := fs.WalkDir(v.fs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		full := filepath.Join(dir, filepath.FromSlash(name))
		if d.IsDir() {
			return os.Mkdir(full, 0o777)
		}
		data, err := fs.ReadFile(v.fs, name)
		if err != nil {
			return err
		}
		return os.WriteFile(full, data, 0o666)
	})
	for _, x := range v.Extend {
		if err == nil {
			err = extend(filepath.Join(dir, filepath.FromSlash(path.Clean(x.File))), x.Size)
		}
	}
	return err
}

// extend makes a file longer, with spaces.
func extend(file string, size int64) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	spaces := []byte(strings.Repeat(" ", 1<<20))
	for n := size - info.Size(); n > 0; n -= int64(len(spaces)) {
		if _, err := f.Write(spaces[:min(n, int64(len(spaces)))]); err != nil {
			return err
		}
	}
	return f.Close()
}

// Examples returns the vectors that break a rule, by name, with what is wrong
// with each.
func Examples(id rule.ID) map[string]string {
	examples := map[string]string{}
	all, _ := Vectors() // a test makes sure that they can be read
	for _, v := range all {
		broken := v.Warn
		if v.Expect == "reject" || v.Expect == "unsupported" {
			broken = v.Rules
		}
		for _, r := range broken {
			if r == id {
				examples[v.Name] = v.Comment
			}
		}
	}
	return examples
}
