package merge

import (
	"github.com/loratool/loratool/format/record"
)

// A verbatim is a run of the base's bytes that a record holds: a tensor, or
// the rows of one that were replaced.
type verbatim struct {
	record *record.Reader
	tensor record.Tensor
	table  record.Table
	width  int // bytes of an element
	size   int64
}

func openVerbatim(r *record.Reader, t record.Tensor, width int, size int64) (*verbatim, error) {
	table, err := r.Table(t, int((size+record.VerbatimBytes-1)/record.VerbatimBytes))
	if err != nil {
		return nil, err
	}
	return &verbatim{r, t, table, width, size}, nil
}

// read fills dst with the bytes from offset from.
func (v *verbatim) read(dst []byte, from int64) error {
	var coder record.PlaneCoder
	var piece []byte
	for len(dst) > 0 {
		i := from / record.VerbatimBytes
		code, err := v.record.Read(record.Blob{At: v.table[i], Len: v.table[i+1] - v.table[i]})
		if err != nil {
			return err
		}
		piece = grow(piece, int(min(record.VerbatimBytes, v.size-i*record.VerbatimBytes)))
		if err := coder.Decode(piece, code, v.width); err != nil {
			return v.record.Fault("RC010", v.tensor.Name, "block %d: %w", i, err)
		}
		n := copy(dst, piece[from-i*record.VerbatimBytes:])
		dst, from = dst[n:], from+int64(n)
	}
	return nil
}

// putVerbatim writes bytes of the base to a record.
func putVerbatim(w *record.Writer, name string, width int, src []byte) (record.Tensor, error) {
	t := record.Tensor{Name: name, Kind: record.Verbatim, Data: record.Blob{At: w.At()}}
	var coder record.PlaneCoder
	var code []byte
	var sizes []int
	for len(src) > 0 {
		n := min(record.VerbatimBytes, len(src))
		code = coder.Encode(code[:0], src[:n], width)
		if _, err := w.Put(code); err != nil {
			return t, err
		}
		sizes = append(sizes, len(code))
		src = src[n:]
	}
	t.Data.Len = w.At() - t.Data.At
	var err error
	t.Blocks, err = w.PutSizes(sizes)
	return t, err
}
