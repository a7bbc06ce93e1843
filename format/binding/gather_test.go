package binding

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// TestGather lays the weight of two experts of [4, 3] over tensors in several
// ways; the bytes must be those of one tensor [2, 4, 3].
func TestGather(t *testing.T) {
	const experts, out, in = 2, 4, 3
	value := func(e, r, c int) byte { return byte(e*100 + r*10 + c) }
	var want []byte
	for e := range experts {
		for r := range out {
			for c := range in {
				want = append(want, value(e, r, c))
			}
		}
	}
	span := func(first, step, n int) adapter.Span { return adapter.Span{First: first, Step: step, Len: n} }
	// tensor holds rows × columns of one expert, transposed or not.
	tensor := func(name string, e int, rows, cols []int, transposed bool) safetensors.NamedData {
		d := safetensors.NamedData{Name: name, DType: dtype.U8, Shape: []int{len(rows), len(cols)}}
		if transposed {
			d.Shape = []int{len(cols), len(rows)}
			for _, c := range cols {
				for _, r := range rows {
					d.Data = append(d.Data, value(e, r, c))
				}
			}
			return d
		}
		for _, r := range rows {
			for _, c := range cols {
				d.Data = append(d.Data, value(e, r, c))
			}
		}
		return d
	}
	all := []int{0, 1, 2, 3}
	base := fixture.Base(t, tensor("top", 0, all[:1], all[:3], false), tensor("rest", 0, all[1:], all[:3], true),
		tensor("even", 1, []int{0, 2}, all[:3], false), tensor("odd", 1, []int{1, 3}, all[:3], false))
	u := &adapter.Update{Experts: experts, Pieces: []adapter.Piece{
		{Tensor: "top", Expert: -1, Source: 0, Out: span(0, 1, 1), In: adapter.All(in), Row: adapter.All(1), Col: adapter.All(in)},
		{Tensor: "rest", Expert: -1, Source: 0, Out: span(1, 1, 3), In: adapter.All(in), Row: adapter.All(in), Col: adapter.All(3), Transposed: true},
		{Tensor: "even", Expert: -1, Source: 1, Out: span(0, 2, 2), In: adapter.All(in), Row: adapter.All(2), Col: adapter.All(in)},
		{Tensor: "odd", Expert: -1, Source: 1, Out: span(1, 2, 2), In: adapter.All(in), Row: adapter.All(2), Col: adapter.All(in)},
	}}
	view, err := adapter.NewView(base)
	if err != nil {
		t.Fatal(err)
	}
	shape, _, whole := shapeOf(u, view)
	if !slices.Equal(shape, []int{experts, out, in}) || whole != "" {
		t.Errorf("shape %v, tensor %q", shape, whole)
	}
	var got bytes.Buffer
	g := gatherer{base: base, write: func(b []byte) { got.Write(b) }}
	g.weight(context.Background(), &weight{Weight: note.Weight{DType: dtype.U8, Shape: shape}, update: u})
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("gathered %v, want %v", got.Bytes(), want)
	}
}
