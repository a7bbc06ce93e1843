package safetensors

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/loratool/loratool/format/dtype"
)

// NamedData is a tensor with its bytes, little-endian and row-major.
type NamedData struct {
	Name  string
	DType dtype.DType
	Shape []int
	Data  []byte
}

// Write writes a small file, such as an adapter, that every reader takes:
// tensors sorted by dtype and name, metadata by key. What cannot be written
// so (see Build), or data whose length is not that of the shape, is an error
// before the first byte is written.
func Write(w io.Writer, tensors []NamedData, metadata map[string]string) error {
	specs := make([]Spec, len(tensors))
	byName := make(map[string]NamedData, len(tensors))
	for i, t := range tensors {
		specs[i] = Spec{t.Name, t.DType, t.Shape}
		byName[t.Name] = t
	}
	pairs := make([]Pair, 0, len(metadata))
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		pairs = append(pairs, Pair{k, metadata[k]})
	}
	h, err := Build(specs, pairs)
	if err != nil {
		return err
	}
	for _, t := range h.Tensors() {
		if have := int64(len(byName[t.Name].Data)); have != t.End-t.Begin {
			return fmt.Errorf("tensor %q: %d bytes of data, %s of shape %v needs %d", t.Name, have, t.DType, t.Shape, t.End-t.Begin)
		}
	}
	if portable(tensors) {
		return writePortable(w, byName, metadata)
	}
	if _, err := w.Write(h.Raw()); err != nil {
		return err
	}
	for _, t := range h.Tensors() {
		if _, err := w.Write(byName[t.Name].Data); err != nil {
			return err
		}
	}
	return nil
}
