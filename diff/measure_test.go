package diff

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
)

func tensor(r *rand.Rand, shape ...int) adapter.Tensor {
	t := adapter.Tensor{DType: dtype.F32, Shape: shape}
	t.Bytes = make([]byte, 4*t.Elements())
	for i := range t.Elements() {
		binary.LittleEndian.PutUint32(t.Bytes[4*i:], math.Float32bits(float32(r.NormFloat64())))
	}
	return t
}

// TestMeasure compares with a full SVD of the dense delta.
func TestMeasure(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, size := range [][3]int{{1, 1, 1}, {7, 5, 3}, {40, 60, 8}, {20, 90, 70}} {
		out, in, rank := size[0], size[1], size[2]
		m := &adapter.Module{A: tensor(r, rank, in), B: tensor(r, out, rank), Rank: rank, Alpha: 5, Multiplicity: 1}
		for _, spectrum := range []bool{true, false} {
			got, err := MeasureModule(m, Options{Spectrum: spectrum})
			if err != nil {
				t.Fatal(err)
			}
			var delta mat.Dense
			delta.Mul(mat.NewDense(out, rank, decode(m.B)), mat.NewDense(rank, in, decode(m.A)))
			delta.Scale(m.Scaling(), &delta)
			var svd mat.SVD
			svd.Factorize(&delta, mat.SVDNone)
			want := svd.Values(nil)
			// The squares are formed, so half of float64's digits are left for
			// the smallest value; the norm and the largest keep nearly all.
			if near := 1e-9 * want[0]; math.Abs(got.Norm-mat.Norm(&delta, 2)) > near || math.Abs(got.Largest-want[0]) > near {
				t.Errorf("%v: norm %v largest %v, want %v %v", size, got.Norm, got.Largest, mat.Norm(&delta, 2), want[0])
			}
			for i, v := range got.Spectrum {
				w := 0.0
				if i < len(want) {
					w = want[i]
				}
				if math.Abs(v-w) > 1e-6*want[0] {
					t.Errorf("%v: σ%d = %v, want %v", size, i+1, v, w)
				}
			}
			if spectrum != (len(got.Spectrum) == rank) || !slices.IsSortedFunc(got.Spectrum, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) {
				t.Errorf("%v: spectrum %v", size, got.Spectrum)
			}
		}
	}
}

func TestMeasureOddValues(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	m := &adapter.Module{A: tensor(r, 2, 4), B: tensor(r, 3, 2), Rank: 2, Alpha: 2, Multiplicity: 1}
	clear(m.B.Bytes)
	if got, err := MeasureModule(m, Options{Spectrum: true}); err != nil || !got.ZeroB || got.ZeroA || got.Norm != 0 || got.StableRank != 0 {
		t.Errorf("zero B: %+v, %v", got, err)
	}
	binary.LittleEndian.PutUint32(m.A.Bytes, math.Float32bits(float32(math.NaN())))
	binary.LittleEndian.PutUint32(m.A.Bytes[4:], math.Float32bits(float32(math.Inf(-1))))
	if got, err := MeasureModule(m, Options{}); err != nil || got.NaN != 1 || got.Inf != 1 || !math.IsNaN(got.Norm) {
		t.Errorf("not finite: %+v, %v", got, err)
	}
}

// TestMeasureStack compares a stack of experts with its experts one by one.
func TestMeasureStack(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	const experts, rank, in, out = 3, 2, 6, 5
	m := &adapter.Module{A: tensor(r, experts*rank, in), B: tensor(r, out, rank*experts), Rank: rank, Alpha: 1, Multiplicity: 1}
	got, err := MeasureModule(m, Options{Spectrum: true})
	if err != nil {
		t.Fatal(err)
	}
	a, b := decode(m.A), decode(m.B)
	square, largest := 0.0, 0.0
	for e := range experts {
		var delta mat.Dense
		be := mat.NewDense(out, rank, nil)
		for i := range out {
			for j := range rank {
				be.Set(i, j, b[i*rank*experts+j*experts+e]) // rank-major columns
			}
		}
		delta.Mul(be, mat.NewDense(rank, in, a[e*rank*in:(e+1)*rank*in]))
		delta.Scale(m.Scaling(), &delta)
		n := mat.Norm(&delta, 2)
		square += n * n
		var svd mat.SVD
		svd.Factorize(&delta, mat.SVDNone)
		largest = max(largest, svd.Values(nil)[0])
	}
	if math.Abs(got.Norm-math.Sqrt(square)) > 1e-9 || math.Abs(got.Largest-largest) > 1e-9 {
		t.Errorf("norm %v largest %v, want %v %v", got.Norm, got.Largest, math.Sqrt(square), largest)
	}
}

func ExampleNewGrid() {
	g := NewGrid([]string{"model.layers.0.q_proj", "model.layers.1.q_proj", "model.layers.1.v_proj", "lm_head"})
	fmt.Println(g.Layers, g.Places, g.Values(-1, func(i int) float64 { return float64(i) }))
	// Output: [0 1] [q_proj v_proj] [[0 1] [-1 2]]
}
