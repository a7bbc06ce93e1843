package merge

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/loratool/loratool/format/dtype"
)

// A hypothesis is one way in which a tensor may have been merged otherwise;
// every element can refute it.
type hypothesis struct {
	delta  dtype.DType // the delta was rounded to this dtype first
	failed bool
}

// A study is what a second reading finds out about a tensor that is not the
// correctly rounded sum.
type study struct {
	elements    int
	grid        dtype.Grid // of the merged dtype, but for F64
	variants    []hypothesis
	neighbours  bool    // every element is a neighbour of the exact sum
	least, most float64 // factors of the delta that every element allows
	d2, dot, m2 float64 // Σ δ², Σ(m−w)δ, Σ(m−w)² of the finite elements
}

func newStudy() study {
	return study{variants: []hypothesis{{delta: dtype.BF16}, {delta: dtype.F16}}, neighbours: true, least: math.Inf(-1), most: math.Inf(1)}
}

func (s *study) merge(o study) {
	for i := range s.variants {
		s.variants[i].failed = s.variants[i].failed || o.variants[i].failed
	}
	s.elements += o.elements
	s.neighbours = s.neighbours && o.neighbours
	s.least, s.most = max(s.least, o.least), min(s.most, o.most)
	s.d2, s.dot, s.m2 = s.d2+o.d2, s.dot+o.dot, s.m2+o.m2
}

// open reports whether a hypothesis is left.
func (s *study) open() bool {
	for _, v := range s.variants {
		if !v.failed {
			return true
		}
	}
	return s.neighbours
}

// row studies a row.
func (s *study) row(ch *change, w, merged []byte, d []float64, coarse float64) {
	out := ch.out.DType
	for j, delta := range d {
		bits := out.Bits64(merged, j)
		x := valueAt(ch.in, w, j)
		if !isFinite(out, bits) || !finite(x) {
			if math.IsNaN(x) || out.Bits64(merged, j) != ch.in.Bits64(w, j) {
				s.refuteUnlessKept(ch, w, bits, j)
			}
			continue
		}
		m := out.Value(bits)
		var c cell
		if out == dtype.F64 {
			c = nearestCell(out, bits)
		} else {
			c = gridCell(&s.grid, out, bits)
		}
		t := x + delta
		e := coarse + float64(math.Abs(t)*0x1p-23)
		for i := range s.variants {
			if v := &s.variants[i]; !v.failed {
				v.failed = !v.allows(c, x, delta, coarse)
			}
		}
		if s.neighbours {
			s.neighbours = t+e >= m-2*c.below && t-e <= m+2*c.above
		}
		s.limit(c, x, delta, e)
		s.d2 += float64(delta * delta)
		s.dot += float64((m - x) * delta)
		s.m2 += float64((m - x) * (m - x))
	}
	s.elements += len(d)
}

// refuteUnlessKept refutes everything if a value that is not finite came or
// went.
func (s *study) refuteUnlessKept(ch *change, w []byte, bits uint64, j int) {
	if ch.in == ch.out.DType && bits == ch.in.Bits64(w, j) {
		return
	}
	s.neighbours, s.least, s.most = false, math.Inf(1), math.Inf(-1)
	for i := range s.variants {
		s.variants[i].failed = true
	}
}

// allows reports whether a delta that was rounded before it was added gives
// the element.
func (h *hypothesis) allows(c cell, w, delta, coarse float64) bool {
	var pair [2]float64
	var raw [4]byte
	pair[0], pair[1] = delta-coarse, delta+coarse
	h.delta.Encode64(raw[:], pair[:])
	h.delta.Decode64(pair[:], raw[:])
	for _, d := range pair {
		if t := w + d; c.meets(t, float64(math.Abs(t)*0x1p-23)) {
			return true
		}
	}
	return false
}

// limit narrows the factors f for which w + f·delta is in the cell.
func (s *study) limit(c cell, w, delta, e float64) {
	low, high := c.center-c.below-w-e, c.center+c.above-w+e
	switch {
	case delta > 0:
		s.least, s.most = max(s.least, low/delta), min(s.most, high/delta)
	case delta < 0:
		s.least, s.most = max(s.least, high/delta), min(s.most, low/delta)
	case low > 0 || high < 0:
		s.least, s.most = math.Inf(1), math.Inf(-1)
	}
}

// studySample is how many elements are studied even when nothing is left to
// refute: for the least squares and the factors that are possible.
const studySample = 1 << 18

// study reads a tensor again and gives its verdict.
func (v *verifier) study(ctx context.Context, x *verified) error {
	if x.change.in == x.change.out.DType && bytes.Equal(x.bytes, x.change.source) {
		x.Verdict, x.Detail = Unmerged, "it is the base's tensor, to the bit"
		return nil
	}
	total := newStudy()
	if x.change.dora != nil {
		total.neighbours, total.least, total.most = false, math.Inf(1), math.Inf(-1)
		for i := range total.variants {
			total.variants[i].failed = true
		}
	}
	step := studySample
	for at := 0; at < x.Elements && (total.open() || at == 0); at, step = at+step, 16*verifyElements {
		var jobs []verifyJob
		each := min(step, verifyElements)
		for i := at; i < min(at+step, x.Elements); i += each {
			jobs = append(jobs, verifyJob{x, i, min(i+each, x.Elements)})
		}
		parts := make([]study, len(jobs))
		err := v.each(ctx, jobs, func(k *worker, j verifyJob) (err error) {
			parts[(j.first-at)/each], err = k.study(j)
			return err
		})
		if err != nil {
			return err
		}
		for _, p := range parts {
			total.merge(p)
		}
	}
	x.conclude(total)
	return nil
}

// study studies a run of elements.
func (k *worker) study(j verifyJob) (study, error) {
	s := newStudy()
	ch := j.x.change
	if ch.out.DType != dtype.F64 {
		s.grid = ch.out.DType.Grid()
	}
	err := k.read(ch, j.x.bytes, j.first, j.last, func(w, m []byte, d []float64, _, coarse float64, _, row, _ int) error {
		if !ch.isReplaced(row) {
			s.row(ch, w, m, d, coarse)
		}
		return nil
	})
	return s, err
}

// tryWeights compares the tensors for which another weight is possible with a
// merge by that weight.
func (v *verifier) tryWeights(ctx context.Context) error {
	byFactor := map[float64][]*verified{}
	for _, x := range v.items {
		if x.Verdict == OtherWeight {
			byFactor[x.Weight] = append(byFactor[x.Weight], x)
		}
	}
	for factor, items := range byFactor {
		adapters := slices.Clone(v.adapters)
		for i := range adapters {
			adapters[i].Weight *= factor
		}
		plan, err := NewPlan(v.base, adapters, v.options)
		if err != nil {
			return err
		}
		if err := v.tryWeight(ctx, plan, items, adapters); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) tryWeight(ctx context.Context, plan *Plan, items []*verified, adapters []Weighted) error {
	changes := map[string]*change{}
	for _, ch := range plan.changes {
		changes[ch.out.Name] = ch
	}
	var jobs []verifyJob
	for _, x := range items {
		x.other = comparison{}
		jobs = append(jobs, x.jobs()...)
	}
	err := v.each(ctx, jobs, func(k *worker, j verifyJob) error {
		_, err := v.compareWith(k, changes[j.x.Name], &j.x.other, j)
		return err
	})
	if err != nil {
		return err
	}
	for _, x := range items {
		switch {
		case x.other.float32 && len(adapters) == 1:
			x.Detail = fmt.Sprintf("merged with weight %v", adapters[0].Weight)
		case x.other.float32:
			x.Detail = fmt.Sprintf("merged with %v times the weights", x.Weight)
		default:
			x.Verdict, x.Weight = NotMerged, 0
			x.Detail = x.leastSquares()
		}
	}
	return nil
}

func (x *verified) leastSquares() string {
	return fmt.Sprintf("least squares gives %.3g times the weights, with a residual of %.3g‖ΔW‖", x.Fitted, x.Residual)
}

// conclude gives the verdict of a study.
func (x *verified) conclude(s study) {
	if s.d2 > 0 {
		x.Fitted = s.dot / s.d2
		x.Residual = math.Sqrt(max(0, s.m2-s.dot*s.dot/s.d2) / s.d2)
	}
	for _, h := range s.variants {
		if !h.failed {
			x.Verdict, x.Detail = PEFT, fmt.Sprintf("delta rounded to %v before it was added", h.delta)
			return
		}
	}
	// The standard error of the fitted factor of an unbiased rounding is at
	// most its residual over √n; five of them leave no doubt.
	doubt := 5*x.Residual/math.Sqrt(float64(max(1, s.elements))) + 1e-3
	switch {
	case s.least <= s.most:
		x.Verdict, x.Weight = OtherWeight, x.factor(s.least, s.most) // to be tried
	case s.neighbours && math.Abs(x.Fitted-1) < doubt:
		x.Verdict, x.Detail = Neighbour, "rounded up or down without bias, as stochastic rounding with an unknown seed does"
	case x.ULP <= 2 && 2*x.Differing <= x.first.changed: // the base itself differs in all of these
		x.Verdict, x.Detail = WithinULP, fmt.Sprintf("%d of %d elements differ, by %d in the last place at most", x.Differing, x.Elements, x.ULP)
	default:
		x.Verdict, x.Detail = NotMerged, x.leastSquares()
	}
}

// factor returns the factor between two others for which the weight of a
// single adapter has the fewest digits.
func (x *verified) factor(low, high float64) float64 {
	weight := x.weight
	if weight < 0 {
		return simplest(high*weight, low*weight) / weight
	}
	return simplest(low*weight, high*weight) / weight
}

// simplest returns the number between two others that has the fewest digits.
func simplest(low, high float64) float64 {
	for digits := 1; digits < 17; digits++ {
		f, err := strconv.ParseFloat(strconv.FormatFloat(low+float64((high-low)/2), 'g', digits, 64), 64)
		if err == nil && f >= low && f <= high {
			return f
		}
	}
	return low + float64((high-low)/2)
}
