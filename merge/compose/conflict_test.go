package compose

import (
	"context"
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
)

// TestConflicts holds the numbers against dense deltas.
func TestConflicts(t *testing.T) {
	x, y := pair()
	c, err := FindConflicts(context.Background(), []Weighted{{x, 1}, {y, -2}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := c.Pairs[0]
	if p.Common != len(everyKind)-1 || p.OnlyA != 1 || p.OnlyB != 1 || len(p.Modules) != p.Common {
		t.Errorf("%+v", p)
	}
	var dot, s1, s2 float64
	for _, m := range p.Modules {
		var d, q1, q2, same, all float64
		for e, a := range deltas(find(x, m.Name)) {
			b := deltas(find(y, m.Name))[e]
			for i, v := range a.RawMatrix().Data {
				w := -b.RawMatrix().Data[i]
				d, q1, q2 = d+v*w, q1+v*v, q2+w*w
				all++
				if v*w > 0 {
					same++
				}
			}
		}
		dot, s1, s2 = dot+d, s1+q1, s2+q2
		if want := d / math.Sqrt(q1*q2); math.Abs(m.Cosine-want) > 1e-12 {
			t.Errorf("%s: cosine %v, want %v", m.Name, m.Cosine, want)
		}
		if math.Abs(m.Signs-same/all) > 1e-12 {
			t.Errorf("%s: signs %v, want %v", m.Name, m.Signs, same/all)
		}
	}
	if want := dot / math.Sqrt(s1*s2); math.Abs(p.Cosine-want) > 1e-12 {
		t.Errorf("cosine of all %v, want %v", p.Cosine, want)
	}
}

// TestOverlap: an adapter agrees with itself, opposes its negative, and shares
// the part of a space that it shares.
func TestOverlap(t *testing.T) {
	one := spec{name: "q", out: 30, in: 24, rank: 4, alpha: 8}
	a := makeAdapter(61, dtype.F32, one)
	c, err := FindConflicts(context.Background(), []Weighted{{a, 1}, {a, 0.5}, {a, -1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, sign := range []float64{1, -1, -1} {
		p := c.Pairs[i]
		if math.Abs(p.Cosine-sign) > 1e-12 || p.Signs != (1+sign)/2 || math.Abs(p.Outputs-1) > 1e-12 || math.Abs(p.Inputs-1) > 1e-12 {
			t.Errorf("pair %d: %+v", i, p.Agreement)
		}
	}
	other := makeAdapter(62, dtype.F32, one)
	half := *a.Modules[0] // two of the four columns of B
	b, o := half.B.Float64s(), other.Modules[0].B.Float64s()
	for i := range 30 {
		b[i*4], b[i*4+1] = o[i*4], o[i*4+1]
	}
	half.B = adapter.NewTensor(dtype.F32, half.B.Shape, b)
	shared := *a
	shared.Modules = []*adapter.Module{&half}
	c, err = FindConflicts(context.Background(), []Weighted{{a, 1}, {&shared, 1}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	qa, qb := denseBasis(a.Modules[0]), denseBasis(&half)
	var m mat.Dense
	m.Mul(qa.T(), qb)
	want := math.Pow(mat.Norm(&m, 2), 2) / 4
	if p := c.Pairs[0]; math.Abs(p.Outputs-want) > 1e-10 || math.Abs(p.Inputs-1) > 1e-12 || p.Outputs < 0.5 {
		t.Errorf("overlaps %v and %v, want %v and 1", p.Outputs, p.Inputs, want)
	}
}

func denseBasis(m *adapter.Module) *mat.Dense {
	return leftVectors(mat.NewDense(m.B.Shape[0], m.B.Shape[1], m.B.Float64s()))
}
