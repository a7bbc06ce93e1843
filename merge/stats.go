package merge

import (
	"math"

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
