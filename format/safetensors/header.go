// Package safetensors reads and writes the safetensors container. Reading is
// strict: a header is parsed once, into an immutable value, and every rule
// that it can break has a number (see package rule). Tensor bytes are views of
// the mapped file. What the tensors mean is for other packages to say.
package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

const (
	// MaxHeader is the length of the longest legal header in bytes: ST002.
	MaxHeader = 100_000_000

	prefixLen   = 8 // bytes of the header length, little-endian
	metadataKey = "__metadata__"
)

// A Tensor is an entry of a header: a block of little-endian elements in row
// major order.
type Tensor struct {
	Name       string
	DType      dtype.DType
	Shape      []int // empty for a scalar; shared, do not modify
	Begin, End int64 // byte offsets from DataStart
}

// Elements returns the product of the shape: 1 for a scalar. A header makes
// sure that it fits.
func (t Tensor) Elements() int {
	if slices.Contains(t.Shape, 0) { // the others alone may overflow
		return 0
	}
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// A Pair is an entry of a header's metadata.
type Pair struct{ Key, Value string }

// A Header is the checked table of contents of a file. It is immutable.
type Header struct {
	file     string
	raw      []byte   // length, JSON and padding
	tensors  []Tensor // by offset
	names    nameSet  // of tensors
	metadata []Pair
	hasMeta  bool // there is a __metadata__ object, maybe empty
	warnings []*rule.Error
}

// ReadHeader reads and checks the header of a file of the given size. The
// name of the file is for messages only. A broken rule is a *rule.Error.
func ReadHeader(r io.ReaderAt, size int64, file string) (*Header, error) {
	return CheckHeader(r, size, file, rule.Stop)
}

// CheckHeader is ReadHeader for those who want every broken rule: report gets
// each of them, except one that makes the rest unreadable, which is the error.
// The header is of use only if there was none.
func CheckHeader(r io.ReaderAt, size int64, file string, report rule.Report) (*Header, error) {
	raw, err := readRaw(r, size, file)
	if err != nil {
		return nil, err
	}
	h, err := parse(raw, size, file, report)
	if err != nil {
		if e, ok := errors.AsType[*rule.Error](err); ok && maybeForeign(e.Rule, raw[prefixLen:]) {
			return nil, foreign(r, size, e)
		}
		return nil, err
	}
	return h, nil
}

// readRaw reads the length and the header it announces. The length is trusted
// only after it was compared with the limit and with the size of the file.
func readRaw(r io.ReaderAt, size int64, file string) ([]byte, error) {
	fault := func(id rule.ID, format string, args ...any) error {
		return foreign(r, size, &rule.Error{File: file, Rule: id, Err: fmt.Errorf(format, args...), Hint: rule.Cure(id)})
	}
	if size < prefixLen {
		return nil, fault("ST001", "%d bytes, expected at least %d", size, prefixLen)
	}
	var prefix [prefixLen]byte
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, fmt.Errorf("%s: read header length: %w", file, err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	switch left := uint64(size - prefixLen); {
	case n == 0:
		return nil, fault("ST035", "header length is 0")
	case n > MaxHeader:
		return nil, fault("ST002", "header length %d, at most %d is allowed", n, MaxHeader)
	case n > left:
		return nil, fault("ST003", "header length %d, but only %d bytes follow it", n, left)
	}
	raw := make([]byte, prefixLen+n)
	if got, err := r.ReadAt(raw, 0); got < len(raw) {
		return nil, fmt.Errorf("%s: read header: %w", file, err)
	}
	return raw, nil
}

// Tensors returns the tensors in the order of their bytes in the file. The
// slice is shared: do not modify it.
func (h *Header) Tensors() []Tensor { return h.tensors }

// Lookup returns the tensor of that name.
func (h *Header) Lookup(name string) (Tensor, bool) {
	if i, ok := h.names.find(name, h.tensors); ok {
		return h.tensors[i], true
	}
	return Tensor{}, false
}

// Metadata returns the entries of __metadata__ in the order of the file.
func (h *Header) Metadata() []Pair { return h.metadata }

// Meta returns the metadata value of a key.
func (h *Header) Meta(key string) (string, bool) {
	for _, p := range h.metadata {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// Raw returns the length, the JSON and the padding as read. Do not modify it:
// names share its memory.
func (h *Header) Raw() []byte { return h.raw }

// DataStart returns the offset of the first tensor byte in the file.
func (h *Header) DataStart() int64 { return int64(len(h.raw)) }

// DataSize returns the number of tensor bytes.
func (h *Header) DataSize() int64 {
	if len(h.tensors) == 0 {
		return 0
	}
	return h.tensors[len(h.tensors)-1].End
}

// Warnings returns what is legal but suspicious, in the order found, cut to a
// few findings for each rule.
func (h *Header) Warnings() []*rule.Error { return h.warnings }

// byteLen returns the number of bytes of a tensor. Zeros are set aside first,
// so that the answer does not depend on the order of the dimensions: ST014.
func byteLen(d dtype.DType, shape []int) (int64, *rule.Error) {
	bits, empty := uint64(d.Bits()), false
	for _, n := range shape {
		switch {
		case n == 0:
			empty = true
		case bits > math.MaxUint64/uint64(n):
			return 0, &rule.Error{Rule: "ST014", Err: fmt.Errorf("shape %v of %s needs more than 2^64 bits", shape, d)}
		default:
			bits *= uint64(n)
		}
	}
	switch {
	case empty:
		return 0, nil
	case bits%8 != 0:
		return 0, &rule.Error{Rule: "ST021", Err: fmt.Errorf("shape %v of %s is %d bits, not a whole number of bytes", shape, d, bits)}
	}
	return int64(bits / 8), nil
}
