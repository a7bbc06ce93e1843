package diff

import (
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/linalg"
)

// factors returns the leading rank rows of both factors: the root of each
// singular value is in either, so that both are rounded alike.
func (t *truncation) factors(rank int) (left, right linalg.Mat[float32]) {
	return t.left.View(0, 0, rank, t.left.Cols), t.right.View(0, 0, rank, t.right.Cols)
}

// module makes the module of a role from the truncations of its planes, all
// cut or filled up with zeros to one rank. Alpha is the rank: the scaling is 1.
func (r role) module(planes []*truncation, rank int, shape []int, d dtype.DType) *adapter.Module {
	out, in := r.rows, r.cols
	if r.factorA() {
		out, in = in, out
	}
	a, b := make([]float32, r.planes*rank*in), make([]float32, out*rank*r.planes)
	for e, t := range planes {
		if t.rank == 0 {
			continue
		}
		left, right := t.factors(min(rank, t.rank))
		if r.factorA() {
			left, right = right, left
		}
		for i := range right.Rows {
			copy(a[(e*rank+i)*in:], right.Data[i*right.RowStride:][:in])
			for j, v := range left.Data[i*left.RowStride:][:out] {
				b[j*rank*r.planes+i*r.planes+e] = v
			}
		}
	}
	shapeA, shapeB := []int{r.planes * rank, in}, []int{out, rank * r.planes}
	if r.kind == adapter.Conv {
		shapeA = append([]int{rank}, shape[1:]...)
		shapeB = append(shapeB, slices.Repeat([]int{1}, len(shape)-2)...)
	}
	return &adapter.Module{Path: r.path, Param: r.param, Kind: r.kind, Rank: rank, Alpha: float64(rank), Multiplicity: 1,
		A: adapter.NewTensor(d, shapeA, a), B: adapter.NewTensor(d, shapeB, b)}
}

// twin returns the module of a head that shares the values of the embedding m:
// its A is the embedding's Bᵀ, its B the embedding's Aᵀ, as PEFT's
// ensure_weight_tying makes them, so that merging keeps the two tied.
func twin(m *adapter.Module, path string) *adapter.Module {
	t := *m
	t.Path, t.Kind = path, adapter.Linear
	t.A, t.B = transposed(m.B), transposed(m.A)
	return &t
}

// transposed returns the transpose of a matrix, bit for bit.
func transposed(t adapter.Tensor) adapter.Tensor {
	rows, cols, width := t.Shape[0], t.Shape[1], t.DType.Bits()/8
	out := adapter.Tensor{DType: t.DType, Shape: []int{cols, rows}, Bytes: make([]byte, len(t.Bytes))}
	for i := range rows {
		for j := range cols {
			copy(out.Bytes[(j*rows+i)*width:][:width], t.Bytes[(i*cols+j)*width:])
		}
	}
	return out
}
