package merge

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/linalg"
)

// Stats sum up what a merge does to one tensor, or to all.
type Stats struct {
	Elements int     // elements computed
	Changed  int     // elements whose value changed
	SumW2    float64 // Σ w² of the base
	SumD2    float64 // Σ δ², δ the delta before rounding
	Dot      float64 // Σ (w' − w)·δ
}

// add counts n elements.
func (s *Stats) add(n int, u linalg.Sums) {
	s.merge(Stats{Elements: n, Changed: u.Changed, SumW2: u.W2, SumD2: u.D2, Dot: u.Dot})
}

func (s *Stats) merge(o Stats) {
	s.Elements += o.Elements
	s.Changed += o.Changed
	s.SumW2 += o.SumW2
	s.SumD2 += o.SumD2
	s.Dot += o.Dot
}

// Relative is ‖ΔW‖/‖W‖ in the Frobenius norm, 0 for an empty tensor.
func (s Stats) Relative() float64 {
	if s.SumW2 == 0 {
		return 0
	}
	return math.Sqrt(s.SumD2 / s.SumW2)
}

// Kept is the share of the update that survived rounding,
// ⟨W' − W, ΔW⟩ / ‖ΔW‖²; 1 for an update of zero.
func (s Stats) Kept() float64 {
	if s.SumD2 == 0 {
		return 1
	}
	return s.Dot / s.SumD2
}

// notFinite is the error about a factor that is not finite.
func notFinite(t adapter.Tensor) *rule.Error {
	first, count := t.DType.NotFinite(t.Bytes)
	return &rule.Error{Tensor: t.Name, Rule: "AD017", Err: fmt.Errorf("%d of %d values are NaN or infinite, the first at index %d", count, t.Elements(), first),
		Hint: "the training diverged; use an earlier checkpoint of the adapter"}
}

// allFinite reports whether a tensor has no NaN and no infinity.
func allFinite(t adapter.Tensor) bool {
	special, _ := t.DType.Inspect(t.Bytes)
	return !special
}

func overflow(ch *change, row, col int, w float64) error {
	return &rule.Error{Tensor: ch.out.Name, Rule: "AD045",
		Err:  fmt.Errorf("merged value at [%d %d] is not finite in %v (base value %g)", row, col, ch.out.DType, w),
		Hint: "check the adapter's scaling, or write a wider dtype with --dtype"}
}
