package diff

import (
	"math"
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
// cut or filled up with zeros to one rank. Alpha is the rank, so that the
// scaling is 1, unless the dtype of the factors asks for more: see [scalingFor].
func (r role) module(planes []*truncation, rank int, shape []int, d dtype.DType) *adapter.Module {
	out, in := r.rows, r.cols
	if r.factorA() {
		out, in = in, out
	}
	a, b := make([]float32, r.planes*rank*in), make([]float32, out*rank*r.planes)
	exponent := scalingFor(planes, d)
	for e, t := range planes {
		if t.rank == 0 {
			continue
		}
		left, right := t.factors(min(rank, t.rank))
		if r.factorA() {
			left, right = right, left
		}
		for i := range right.Rows {
			by := math.Ldexp(1, (t.exponent-exponent)/2)
			for j, v := range right.Data[i*right.RowStride:][:in] {
				a[(e*rank+i)*in+j] = float32(by * float64(v))
			}
			for j, v := range left.Data[i*left.RowStride:][:out] {
				b[j*rank*r.planes+i*r.planes+e] = float32(by * float64(v))
			}
		}
	}
	shapeA, shapeB := []int{r.planes * rank, in}, []int{out, rank * r.planes}
	if r.kind == adapter.Conv {
		shapeA = append([]int{rank}, shape[1:]...)
		shapeB = append(shapeB, slices.Repeat([]int{1}, len(shape)-2)...)
	}
	return &adapter.Module{Path: r.path, Param: r.param, Kind: r.kind, Rank: rank, Alpha: math.Ldexp(float64(rank), exponent), Multiplicity: 1,
		A: adapter.NewTensor(d, shapeA, a), B: adapter.NewTensor(d, shapeB, b)}
}

// scalingFor returns the even exponent of two that the scaling of a module is.
// With the scaling 1, rows of the factors have the lengths √σ. It is 0 as long
// as those fit the dtype with their digits, and else brings the largest element
// near the upper end, from where most of the range lies below.
func scalingFor(planes []*truncation, d dtype.DType) int {
	most, least := 0.0, math.Inf(1) // the largest element, the smallest mean square of a row
	for _, t := range planes {
		for i := range t.rank {
			if t.squares[i] < negligible*t.squares[0] {
				break // its digits are below those of the first
			}
			for _, m := range []linalg.Mat[float32]{t.left, t.right} {
				square := 0.0
				for _, v := range m.Data[i*m.RowStride:][:m.Cols] {
					most = max(most, math.Ldexp(math.Abs(float64(v)), t.exponent/2))
					square += float64(float64(v) * float64(v))
				}
				if square > 0 {
					least = min(least, math.Ldexp(square/float64(m.Cols), t.exponent))
				}
			}
		}
	}
	// Elements below the smallest normal value have an error of their own, half
	// the smallest step; it is less than that of the rounding of the others where
	// the mean is twice that value. The upper end is that of all IEEE types.
	_, minExponent := d.Precision()
	if most == 0 || most < math.Ldexp(1, -minExponent) && least >= math.Ldexp(1, 2*(minExponent+1)) {
		return 0
	}
	return 2 * (math.Ilogb(most) + minExponent + 1)
}

// negligible is the square of the share of σ₁ below which a singular value is
// not worth another scaling: that of the rounding of f16, 2^-11, squared.
const negligible = 0x1p-44

// twin returns the module of a head that shares the values of the embedding m:
// its A is the embedding's Bᵀ, its B the embedding's Aᵀ, as PEFT's
// ensure_weight_tying makes them, so that merging keeps the two tied. Another
// embedding has the same factors.
func twin(m *adapter.Module, path string, embeds bool) *adapter.Module {
	t := *m
	t.Path = path
	if embeds {
		return &t
	}
	t.Kind = adapter.Linear
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
