package diff

import (
	"math"

	"github.com/loratool/loratool/internal/lowrank"
)

// choose returns how many of the leading squared singular values a rule keeps,
// and whether those given are enough to say so.
func choose(rule lowrank.Rule, squares []float64, s stats) (rank int, enough bool) {
	if n, ok := rule.Fixed(); ok {
		return min(n, len(squares)), n <= len(squares)
	}
	rank = rule.Rank(lowrank.Spectrum{Sigma: roots(squares), Square: s.delta2, Floor: s.edge})
	return rank, rank < len(squares)
}

// atLeast bounds from below the rank that the rule auto asks for when the
// squares given are converged: a change whose energy is above that of the
// noise needs as many more values, none of which is larger than the last.
func atLeast(rule lowrank.Rule, squares []float64, s stats) int {
	rank, _ := choose(rule, squares, s)
	if rule != lowrank.Auto() || rank == 0 {
		return rank
	}
	missing := s.delta2 - float64((1+noiseSlack)*s.noise2)
	for _, q := range squares[:rank] {
		missing -= q
	}
	return rank + int(math.Max(0, missing/squares[rank-1]))
}

// loud reports whether more is left of a delta than rounding to nearest
// explains: the change goes on below the edge of the noise, in too many
// directions for any to stand out.
func loud(kept []float64, s stats, rows, cols int) bool {
	left := s.delta2
	for _, q := range kept {
		left -= q
	}
	// Of few elements the mean of n squared errors deviates by 0.9/√n.
	slack := noiseSlack + 4/math.Sqrt(float64(rows)*float64(cols))
	// What rank directions take of the noise is no longer in the rest.
	r := float64(len(kept))
	rest := (1 - r/float64(rows)) * (1 - r/float64(cols))
	return left > max(unresolved*s.delta2, (1+slack)*rest*s.noise2)
}

// noiseSlack is the relative error allowed to the expected energy of the
// rounding noise: values in a binade are not spread evenly.
const noiseSlack = 0.1

// roots returns the singular values of their squares.
func roots(squares []float64) []float64 {
	s := make([]float64, len(squares))
	for i, q := range squares {
		s[i] = math.Sqrt(max(0, q))
	}
	return s
}
