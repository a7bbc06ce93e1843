package diff

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/loratool/loratool/internal/text"
)

// A RankRule says how many singular values of a delta are kept.
type RankRule struct {
	Kind  RankKind
	N     int     // of FixedRank
	Share float64 // of EnergyRank, ErrorRank
	Bytes int64   // of BudgetRank
}

// A RankKind is one of the ways to choose a rank.
type RankKind uint8

// The kinds of rules.
const (
	AutoRank   RankKind = iota // the values above the rounding noise
	FixedRank                  // N values
	EnergyRank                 // the fewest with Σ_{i≤r} σᵢ² ≥ Share·‖Δ‖²
	ErrorRank                  // the fewest with ‖Δ − Δ_r‖ ≤ Share·‖Δ‖
	BudgetRank                 // those of all modules that lower the error most, in Bytes of factors
)

// ParseRankRule reads N, auto, energy=SHARE, error=SHARE or budget=SIZE.
func ParseRankRule(s string) (r RankRule, err error) {
	name, value, named := strings.Cut(s, "=")
	bad := fmt.Errorf("%q: expected a number, auto, energy=0.95, error=0.05 or budget=200MB", s)
	switch {
	case s == "auto":
		return RankRule{Kind: AutoRank}, nil
	case !named:
		r = RankRule{Kind: FixedRank}
		if r.N, err = strconv.Atoi(s); err != nil || r.N < 1 {
			return r, bad
		}
		return r, nil
	case name == "budget":
		r = RankRule{Kind: BudgetRank}
		if r.Bytes, err = text.ParseBytes(value); err != nil || r.Bytes < 1 {
			return r, bad
		}
		return r, nil
	case name == "energy":
		r.Kind = EnergyRank
	case name == "error":
		r.Kind = ErrorRank
	default:
		return r, bad
	}
	if r.Share, err = strconv.ParseFloat(value, 64); err != nil || !(r.Share > 0 && r.Share < 1) {
		return r, bad
	}
	return r, nil
}

// String returns what ParseRankRule reads.
func (r RankRule) String() string {
	share := strconv.FormatFloat(r.Share, 'g', -1, 64)
	switch r.Kind {
	case FixedRank:
		return strconv.Itoa(r.N)
	case EnergyRank:
		return "energy=" + share
	case ErrorRank:
		return "error=" + share
	case BudgetRank:
		return "budget=" + strconv.FormatInt(r.Bytes, 10) + "B"
	}
	return "auto"
}

// choose returns how many of the leading squared singular values the rule
// keeps, and whether those given are enough to say so.
func (r RankRule) choose(squares []float64, s stats) (rank int, enough bool) {
	switch r.Kind {
	case FixedRank:
		return min(r.N, len(squares)), r.N <= len(squares)
	case EnergyRank:
		return fewest(squares, r.Share*s.delta2)
	case ErrorRank:
		return fewest(squares, (1-r.Share*r.Share)*s.delta2)
	}
	for rank < len(squares) && squares[rank] > s.edge*s.edge {
		rank++
	}
	return rank, rank < len(squares)
}

// fewest returns the smallest n whose first values sum up to the wanted sum.
func fewest(squares []float64, want float64) (n int, enough bool) {
	sum := 0.0
	for i, q := range squares {
		if sum += q; sum >= want {
			return i + 1, true
		}
	}
	return len(squares), false
}

// atLeast bounds from below the rank that an adaptive rule asks for, when the
// squares given are converged: what is missing needs as many more values, none
// of which is larger than the last.
func (r RankRule) atLeast(squares []float64, s stats) int {
	rank, enough := r.choose(squares, s)
	if enough && r.Kind != AutoRank || rank == 0 || r.Kind == FixedRank {
		return rank
	}
	sum := 0.0
	for _, q := range squares[:rank] {
		sum += q
	}
	missing := r.Share*s.delta2 - sum
	switch r.Kind {
	case ErrorRank:
		missing = (1-r.Share*r.Share)*s.delta2 - sum
	case AutoRank:
		// A part above the expected noise by noiseSlack of it is no noise.
		missing = s.delta2 - sum - (1+noiseSlack)*s.noise2
	}
	return rank + int(math.Max(0, missing/squares[rank-1]))
}

// noiseSlack is the relative error allowed to the expected energy of the
// rounding noise: values in a binade are not spread evenly.
const noiseSlack = 0.1
