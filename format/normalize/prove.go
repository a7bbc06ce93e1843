package normalize

import (
	"context"
	"fmt"
	"math"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// tolerance is the relative error that rounding B to nearest may cause: half a
// unit in the last place of the dtype, of every element, and so of the norm of
// the difference (‖D·A‖ is at most what the same relative error of every
// element of B makes, up to the cancellation in B·A, which the measure shows).
func tolerance(dt dtype.DType) float64 {
	switch dt {
	case dtype.F64:
		return 0x1p-50
	case dtype.F32:
		return 0x1p-22
	case dtype.F16:
		return 0x1p-9
	case dtype.BF16:
		return 0x1p-6
	}
	return 0x1p-2 // FP8: three bits
}

// prove measures the relative error of every delta.
func (n *normalizer) prove(ctx context.Context) error {
	worst, allowed := 0.0, 0.0
	for i, old := range n.source {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		m := n.modules[i]
		allowed = max(allowed, tolerance(m.B.DType))
		e, err := relativeError(old, m)
		if err != nil {
			return err
		}
		if !(e <= tolerance(m.B.DType)) {
			return fmt.Errorf("%s: module %q would change by %.3g of its norm, at most %.3g is allowed; allow a wider dtype", n.f.Source, m.Name(), e, tolerance(m.B.DType))
		}
		worst = max(worst, e)
	}
	n.report.Modules, n.report.Error, n.report.Tolerance = len(n.modules), worst, allowed
	if len(n.modules) > 0 {
		n.report.Scaling = n.modules[0].Scaling()
	}
	return nil
}

// relativeError returns ‖s'B'A' − sBA‖/‖sBA‖ in the Frobenius norm. A' is A
// with rows of zeros, so the difference is D·A with D = s'B' − sB, and its
// norm comes from small matrices: ‖D·A‖² = tr(DᵀD·AAᵀ), without cancellation.
func relativeError(old, m *adapter.Module) (float64, error) {
	r, rank := old.A.Shape[0], m.A.Shape[0]
	a, a2 := old.A.Float64s(), m.A.Float64s()
	for i, x := range a2 {
		if i < len(a) && x != a[i] && x == x || i >= len(a) && x != 0 {
			return 0, fmt.Errorf("module %q: A changed", m.Name())
		}
	}
	columns := old.B.Shape[1]
	wide := columns + rank - r
	b, b2 := old.B.Float64s(), m.B.Float64s()
	d := make([]float64, len(b))
	same := true
	for i := range old.B.Shape[0] {
		for k := range columns {
			x := float64(b2[i*wide+k]*m.Scaling()) - float64(b[i*columns+k]*old.Scaling())
			d[i*columns+k] = x
			same = same && x == 0
		}
	}
	if same || columns != r {
		return 0, nil
	}
	g := gram(a, r)
	size := norm(b, g, r) * math.Abs(old.Scaling())
	switch {
	case math.IsNaN(size) || math.IsInf(size, 0):
		return 0, &rule.Error{Tensor: old.B.Name, Rule: "AD017", Err: fmt.Errorf("module %q has a factor that is not finite", old.Name())}
	case size == 0:
		return 0, nil
	}
	return norm(d, g, r) / size, nil
}

// gram returns A·Aᵀ of an A with r rows.
func gram(a []float64, r int) []float64 {
	in := len(a) / r
	g := make([]float64, r*r)
	for i := range r {
		for j := range i + 1 {
			s := 0.0
			x, y := a[i*in:][:in], a[j*in:][:in]
			for k := range x {
				s += float64(x[k] * y[k])
			}
			g[i*r+j], g[j*r+i] = s, s
		}
	}
	return g
}

// norm returns ‖B·A‖ of a B with r columns, from the Gram matrix of A.
func norm(b, g []float64, r int) float64 {
	sum := 0.0
	for i := 0; i < len(b); i += r {
		row := b[i : i+r]
		for j, x := range row {
			s := 0.0
			for k, y := range row {
				s += float64(g[j*r+k] * y)
			}
			sum += float64(x * s)
		}
	}
	return math.Sqrt(max(sum, 0))
}
