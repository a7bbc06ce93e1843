// Command vectors writes the vectors of the specification into spec/vectors.
// It is run by go generate in package spec; CI compares what it writes.
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A vector is one folder.
type vector struct {
	name    string // after the prefix that says what is expected
	expect  string // "" for accept
	rules   string
	warn    string
	input   string // "" for "adapter"
	base    string
	merged  string // of a record: the merged checkpoint
	adapter string // of a record: the adapter that was merged
	profile string
	deep    bool
	sha256  string
	comment string
	extend  string
	files   map[string][]byte
}

// maxBytes is what the files of a vector may have together.
const maxBytes = 4096

func main() {
	if err := run("vectors"); err != nil {
		log.Fatal(err)
	}
}

func run(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*_*"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	merged, err := merges()
	if err != nil {
		return err
	}
	recorded, err := records()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, v := range slices.Concat(containers(), shards(), configs(), tensors(), bases(), additions(), profiles(), training(), merged, recorded) {
		name := v.folder()
		if seen[name] {
			return fmt.Errorf("two vectors are named %s", name)
		}
		seen[name] = true
		if err := v.write(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// folder is the name of the vector's folder.
func (v vector) folder() string {
	switch v.expect {
	case "":
		return "y_" + v.name
	case "any":
		return "i_" + v.name
	case "merge":
		return "merge_" + v.name
	}
	return "n_" + v.rules + "_" + v.name
}

func (v vector) write(dir string) error {
	var text bytes.Buffer
	for _, line := range [][2]string{
		{"expect", cmp.Or(v.expect, "accept")}, {"rule", v.rules}, {"warn", v.warn}, {"input", cmp.Or(v.input, "adapter")}, {"base", v.base},
		{"merged", v.merged}, {"adapter", v.adapter}, {"profile", v.profile}, {"deep", map[bool]string{true: "yes"}[v.deep]}, {"sha256", v.sha256}, {"extend", v.extend}, {"comment", v.comment},
	} {
		if line[1] != "" {
			fmt.Fprintf(&text, "%s: %s\n", line[0], line[1])
		}
	}
	size := text.Len()
	files := also(v.files, map[string][]byte{"vector.txt": text.Bytes()})
	for name, data := range files {
		if name != "vector.txt" {
			size += len(data)
		}
	}
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	switch {
	case size > maxBytes:
		return fmt.Errorf("%d bytes, at most %d are allowed", size, maxBytes)
	case v.comment == "" || strings.Contains(v.comment, "\n"):
		return fmt.Errorf("a comment of one line is needed")
	}
	return nil
}

// writeFiles writes files by their paths below a folder.
func writeFiles(dir string, files map[string][]byte) error {
	for name, data := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(full, data, 0o666); err != nil {
			return err
		}
	}
	return nil
}
