// Package hostile makes broken, odd and huge input files for tests, each with
// the verdict that a strict reader reaches. The files are made when a test
// asks for them, so that the repository stays small; manifest.tsv lists them.
package hostile

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Case is an input with its verdict.
type Case struct {
	Name string // unique, also the name of its folder
	// Want is "accept", the ID of the rule that refuses the input,
	// "unsupported", or "error" for what the operating system refuses.
	Want string
	Warn []string // rules that must be among the warnings of an accepted input
	Big  bool     // takes seconds or hundreds of megabytes; not in short tests

	// Bytes are the content of a single file, for cases that are one;
	// otherwise Make makes the input in an empty folder and returns the path
	// to open. An error is a skip: the system cannot make such a file.
	Bytes []byte
	Make  func(dir string) (path string, err error)
}

// Create makes the input in an empty folder and returns the path to open.
func (c Case) Create(dir string) (string, error) {
	if c.Make != nil {
		return c.Make(dir)
	}
	path := filepath.Join(dir, "model.safetensors")
	return path, os.WriteFile(path, c.Bytes, 0o666)
}

// Cases returns all cases in a fixed order. Families are added here.
func Cases() []Case {
	return slices.Concat(prefixCases(), jsonCases(), entryCases(), layoutCases(), nameCases(),
		foreignCases(), bigCases(), specialCases(), shardCases(), folderCases())
}

// File returns a file of a header and n zero bytes of data.
func File(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

// Entry returns a member of a header.
func Entry(name, dtype, shape, offsets string) string {
	return `"` + name + `":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}`
}

// Object joins members to an object.
func Object(members ...string) string { return "{" + strings.Join(members, ",") + "}" }

// one is a plain entry: two floats at the start of the data.
func one(name string) string { return Entry(name, "F32", "[2]", "[0,8]") }

func accept(name string, b []byte, warn ...string) Case {
	return Case{Name: name, Want: "accept", Bytes: b, Warn: warn}
}

func reject(rule, name string, b []byte) Case {
	return Case{Name: strings.ToLower(rule) + "_" + name, Want: rule, Bytes: b}
}

// write writes files, given as pairs of name and content, into dir.
func write(dir string, files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			return err
		}
	}
	return nil
}
