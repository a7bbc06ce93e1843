// Package record reads and writes the reversible record of a merge: what a
// checkpoint needs, beside the merged tensors and the adapters, to become its
// base again bit for bit. The format is annex A of the specification. The
// package knows the file, not how indices and values are computed.
package record

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"

	"github.com/loratool/loratool/format/rule"
)

// A record is magic, blobs, head, trailer. The head is JSON in one zstd frame;
// the trailer tells where it is and has the SHA-256 of all bytes before.
const (
	magic       = "LORAREC\x01"
	trailerSize = 3*8 + 32
	// MaxHead is the largest head, decompressed: RC005.
	MaxHead = 64 << 20
	// Version is the version of the format that this package writes.
	Version = 1
)

// BlockElements is how many elements of a tensor share a run of indices that
// is read on its own. The last block of a tensor may be shorter.
const BlockElements = 1 << 16

// A Blob is a run of bytes of the record.
type Blob struct {
	At  int64 `json:"at"`
	Len int64 `json:"len"`
}

// A Head says what a record holds and what it belongs to.
type Head struct {
	Version    int       `json:"version"`
	Arithmetic string    `json:"arithmetic"`
	Rounding   string    `json:"rounding"`       // "nearest" or "stochastic"
	Seed       string    `json:"seed,omitempty"` // decimal, of stochastic rounding
	DType      string    `json:"dtype,omitempty"`
	Skip       []string  `json:"skip,omitempty"`
	AddMissing bool      `json:"add_missing,omitempty"`
	Adapters   []Adapter `json:"adapters"`
	Base       Base      `json:"base"`
	Merged     []Merged  `json:"merged"`
	Tensors    []Tensor  `json:"tensors"`
}

// An Adapter names an adapter that was merged.
type Adapter struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
	Files  []File  `json:"files"`
}

// A File is a file by its digest, with its bytes where the merge lost them.
type File struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
	Content *Blob  `json:"content,omitempty"` // zstd
}

// A Base describes the checkpoint before the merge.
type Base struct {
	Folder bool    `json:"folder"`
	Shards []Shard `json:"shards"`
	Files  []File  `json:"files,omitempty"` // beside the shards
}

// A Shard is one weights file of the base.
type Shard struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"` // see Digest
	Header Blob   `json:"header"` // zstd, with the eight bytes of its length
	Raw    int64  `json:"header_bytes"`
}

// A Merged is one weights file of the output.
type Merged struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`         // see Digest
	Same   string `json:"same,omitempty"` // the shard of the base that has the same bytes
	Pieces Blob   `json:"pieces"`         // the sum of each piece
}

// Kinds of Tensor.
const (
	Preimages = "preimages" // indices of the base's values among those that merge alike
	Verbatim  = "verbatim"  // the base's bytes, or those of some rows
)

// A Tensor is what the record holds of one tensor of the base.
type Tensor struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Data   Blob   `json:"data"`
	Blocks Blob   `json:"blocks"`          // bytes of each block of Data, as varints
	Gains  *Blob  `json:"gains,omitempty"` // float64 of each output of a scaled tensor
	Radius int    `json:"radius,omitempty"`
}

// fault is a broken rule of a record.
func fault(id rule.ID, file, tensor, format string, args ...any) error {
	return &rule.Error{File: file, Tensor: tensor, Rule: id, Err: fmt.Errorf(format, args...), Hint: rule.Cure(id)}
}

var errBits = errors.New("index beyond the end of its block")

// blobs returns every blob of the head with what it is.
func (h *Head) blobs() (all []Blob) {
	for _, s := range h.Base.Shards {
		all = append(all, s.Header)
	}
	for _, f := range h.Base.Files {
		if f.Content != nil {
			all = append(all, *f.Content)
		}
	}
	for _, m := range h.Merged {
		all = append(all, m.Pieces)
	}
	for _, t := range h.Tensors {
		all = append(all, t.Data, t.Blocks)
		if t.Gains != nil {
			all = append(all, *t.Gains)
		}
	}
	return all
}

// check holds the head against the rules that need no base: RC006 to RC008.
func (h *Head) check(file string, end int64) error {
	if h.Version != Version {
		return &rule.Unsupported{File: file, What: fmt.Sprintf("record of version %d", h.Version), Hint: "use a newer loratool"}
	}
	for _, b := range h.blobs() {
		if b.At < int64(len(magic)) || b.Len < 0 || b.At > end || b.Len > end-b.At {
			return fault("RC007", file, "", "bytes %d to %d of %d", b.At, b.At+b.Len, end)
		}
	}
	if err := h.checkNames(file); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, t := range h.Tensors {
		if t.Kind != Preimages && t.Kind != Verbatim {
			return fault("RC006", file, t.Name, "kind %q", t.Kind)
		}
		if seen[t.Kind+t.Name] {
			return fault("RC006", file, t.Name, "occurs twice")
		}
		seen[t.Kind+t.Name] = true
		if t.Radius < 0 || t.Radius > 60 {
			return fault("RC006", file, t.Name, "radius 2^-%d", t.Radius)
		}
	}
	for _, a := range h.Adapters {
		if math.IsNaN(a.Weight) || math.IsInf(a.Weight, 0) {
			return fault("RC006", file, "", "weight %v", a.Weight)
		}
	}
	if len(h.Base.Shards) == 0 || len(h.Merged) == 0 || len(h.Adapters) == 0 {
		return fault("RC006", file, "", "no base, no merged file or no adapter")
	}
	if h.Rounding != "nearest" && h.Rounding != "stochastic" {
		return fault("RC006", file, "", "rounding %q", h.Rounding)
	}
	return nil
}

// checkNames refuses names that lead out of a folder, or occur twice.
func (h *Head) checkNames(file string) error {
	var base, merged []string
	for _, s := range h.Base.Shards {
		base = append(base, s.Name)
	}
	for _, f := range h.Base.Files {
		base = append(base, f.Name)
	}
	for _, m := range h.Merged {
		merged = append(merged, m.Name)
	}
	for _, names := range [][]string{base, merged} {
		seen := map[string]bool{}
		for _, n := range names {
			if !fs.ValidPath(n) || n == "." || !filepath.IsLocal(filepath.FromSlash(n)) || seen[n] {
				return fault("RC006", file, "", "file name %q", n)
			}
			seen[n] = true
		}
	}
	return nil
}
