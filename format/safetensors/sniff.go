package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/loratool/loratool/format/rule"
)

// SniffLen is how many leading bytes of a file Sniff looks at.
const SniffLen = 512

// A FileType is a kind of file that is found where a safetensors file is
// expected.
type FileType struct {
	Name string // such as "Git LFS pointer"
	Hint string // what to do about it
}

// article is what goes before the name: an HTML page, a zip archive.
func (t FileType) article() string {
	if t.Name[0] == 'H' {
		return "an"
	}
	return "a"
}

// signatures are tried in order. Valid safetensors files can begin with the
// bytes of most of them, so they are looked at only when the header is none.
var signatures = []struct {
	is   func(head []byte) bool
	file FileType
}{
	{prefix("version https://git-lfs.github.com/spec/"), FileType{"Git LFS pointer", "the weights were not fetched: run git lfs pull, or download the file again"}},
	{isHTML, FileType{"HTML page", "a download saved a web page, perhaps a login or an error: download the file again"}},
	{prefix("PK\x03\x04", "PK\x05\x06"), FileType{"zip archive (torch.save writes one)", "convert it to safetensors first; pickle in it is never executed here"}},
	{isPickle, FileType{"pickle (old torch.save)", "convert it to safetensors first; it is never executed here"}},
	{prefix("GGUF"), FileType{"GGUF file", "this is llama.cpp's format: use the safetensors files that it was made from"}},
	{prefix("\x1f\x8b"), FileType{"gzip file", "decompress it first"}},
	{prefix("\x28\xb5\x2f\xfd"), FileType{"zstd file", "decompress it first"}},
	{prefix("\x93NUMPY"), FileType{"numpy array (.npy)", "convert it to safetensors first"}},
	{prefix("\x89HDF\r\n\x1a\n"), FileType{"HDF5 file", "convert it to safetensors first"}},
	{isJSON, FileType{"JSON text", "this is a config or an index, not weights"}},
}

// Sniff guesses what a file that is no safetensors file is, from its first
// SniffLen bytes or fewer.
func Sniff(head []byte) (FileType, bool) {
	for _, s := range signatures {
		if s.is(head) {
			return s.file, true
		}
	}
	return FileType{}, false
}

func prefix(magics ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, m := range magics {
			if bytes.HasPrefix(head, []byte(m)) {
				return true
			}
		}
		return false
	}
}

func text(head []byte) []byte {
	return bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xEF\xBB\xBF")), " \t\r\n")
}

func isHTML(head []byte) bool {
	low := bytes.ToLower(text(head))
	for _, tag := range []string{"<!doctype", "<html", "<head", "<?xml", "<!--"} {
		if bytes.HasPrefix(low, []byte(tag)) {
			return true
		}
	}
	return false
}

// isPickle knows protocols 2 to 5 by the opcode after the protocol byte.
func isPickle(head []byte) bool {
	return len(head) > 2 && head[0] == 0x80 && 2 <= head[1] && head[1] <= 5 &&
		bytes.IndexByte([]byte("}](c\x8a\x95X\x8cq)NKJM"), head[2]) >= 0
}

// isJSON takes an object or list that goes on like one.
func isJSON(head []byte) bool {
	t := text(head)
	if len(t) == 0 || t[0] != '{' && t[0] != '[' {
		return false
	}
	rest := bytes.TrimLeft(t[1:], " \t\r\n")
	return len(rest) == 0 || bytes.IndexByte([]byte(`"{}[]-0123456789tfn`), rest[0]) >= 0
}

// maybeForeign reports whether a broken rule may mean that the file is of
// another type: there is no object where the header should be.
func maybeForeign(id rule.ID, header []byte) bool {
	switch id {
	case "ST004", "ST005", "ST006":
		t := bytes.TrimLeft(header, " \t\r\n")
		return len(t) == 0 || t[0] != '{'
	}
	return false
}

// foreign returns ST024 if the file is of a known other type, and e if not.
func foreign(r io.ReaderAt, size int64, e *rule.Error) error {
	head := make([]byte, min(size, SniffLen))
	n, err := r.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: read first bytes: %w", e.File, err)
	}
	t, ok := Sniff(head[:n])
	if !ok {
		return e
	}
	return &rule.Error{File: e.File, Rule: "ST024", Hint: t.Hint,
		Err: fmt.Errorf("this is %s %s, not a safetensors file", t.article(), t.Name)}
}
