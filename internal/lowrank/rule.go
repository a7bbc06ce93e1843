package lowrank

import (
	"container/heap"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/loratool/loratool/internal/text"
)

// A Rule decides the rank of a delta from its singular values. The zero value
// is rank 0.
type Rule struct {
	kind  ruleKind
	rank  int
	share float64
	bytes int64
}

type ruleKind uint8

const (
	fixed ruleKind = iota
	auto
	energy
	relativeError
	ratio
	budget
)

// MaxRank is the largest rank that a rule may name, that of AD004.
const MaxRank = 1 << 20

// Fixed is the rule "N".
func Fixed(rank int) Rule { return Rule{rank: rank} }

// Auto is the rule "auto": as many singular values as lie above the noise.
func Auto() Rule { return Rule{kind: auto} }

// ParseRule reads a rule as people write it:
//
//	16            rank 16, or less where the delta has fewer
//	auto          what lies above the rounding noise
//	energy=0.95   the least rank that keeps this share of ‖ΔW‖²
//	error=0.05    the least rank with an error of at most this share of ‖ΔW‖
//	ratio=0.01    singular values of at least this share of the largest
//	budget=200MB  the ranks of all modules together that lose least in a file
//	              of this size
func ParseRule(s string) (Rule, error) {
	name, value, found := strings.Cut(s, "=")
	if !found {
		if s == "auto" {
			return Auto(), nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > MaxRank {
			return Rule{}, fmt.Errorf("%s: expected a rank of 1 or more, auto, energy=…, error=…, ratio=… or budget=…", text.Quote(s))
		}
		return Fixed(n), nil
	}
	kinds := map[string]ruleKind{"energy": energy, "error": relativeError, "ratio": ratio, "budget": budget}
	kind, ok := kinds[name]
	if !ok {
		return Rule{}, fmt.Errorf("%s: no such rule; expected a rank, auto, energy=…, error=…, ratio=… or budget=…", text.Quote(name))
	}
	if kind == budget {
		n, err := text.ParseBytes(value)
		if err != nil || n <= 0 {
			return Rule{}, fmt.Errorf("budget %s: expected a size such as 200MB", text.Quote(value))
		}
		return Rule{kind: budget, bytes: n}, nil
	}
	share, err := strconv.ParseFloat(value, 64)
	if err != nil || !(share > 0 && share <= 1) {
		return Rule{}, fmt.Errorf("%s %s: expected a share above 0 and up to 1", name, text.Quote(value))
	}
	return Rule{kind: kind, share: share}, nil
}

// String returns the rule as ParseRule reads it.
func (r Rule) String() string {
	share := strconv.FormatFloat(r.share, 'g', -1, 64)
	switch r.kind {
	case auto:
		return "auto"
	case energy:
		return "energy=" + share
	case relativeError:
		return "error=" + share
	case ratio:
		return "ratio=" + share
	case budget:
		return "budget=" + strconv.FormatInt(r.bytes, 10)
	}
	return strconv.Itoa(r.rank)
}

// Budget returns the size in bytes of the rule "budget", which Rank cannot
// decide for one module alone.
func (r Rule) Budget() (bytes int64, ok bool) { return r.bytes, r.kind == budget }

// Fixed returns the rank of the rule "N", whatever the delta.
func (r Rule) Fixed() (rank int, ok bool) { return r.rank, r.kind == fixed }

// A Spectrum is what is known of the singular values of a delta.
type Spectrum struct {
	Sigma  []float64 // largest first; the leading ones, or all
	Square float64   // ‖ΔW‖², the sum of the squares of all
	Floor  float64   // values up to this are noise; for the rule "auto"
}

// Rank returns the rank that the rule asks for, at most len(s.Sigma); all of
// them for a budget.
func (r Rule) Rank(s Spectrum) int {
	switch r.kind {
	case fixed:
		return min(r.rank, len(s.Sigma))
	case auto:
		return s.above(s.Floor)
	case energy:
		return s.within((1 - r.share) * s.Square)
	case relativeError:
		return s.within(r.share * r.share * s.Square)
	case ratio:
		if len(s.Sigma) == 0 || s.Sigma[0] == 0 {
			return 0
		}
		return s.above(math.Nextafter(r.share*s.Sigma[0], 0))
	}
	return len(s.Sigma)
}

// above counts the values above a floor.
func (s Spectrum) above(floor float64) int {
	n := 0
	for n < len(s.Sigma) && s.Sigma[n] > floor {
		n++
	}
	return n
}

// within returns the least rank whose squared error is at most limit. The
// errors are summed from the smallest value up, so that none cancels.
func (s Spectrum) within(limit float64) int {
	n := len(s.Sigma)
	rest := max(0, s.Square-sumSquares(s.Sigma))
	if rest <= 0x1p-45*s.Square {
		rest = 0 // all values are there; the difference is rounding
	}
	limit = max(limit, rounding*s.Square)
	for n > 0 {
		rest += float64(s.Sigma[n-1] * s.Sigma[n-1])
		if rest > limit {
			break
		}
		n--
	}
	return n
}

// rounding is the squared relative error of singular values in float64: what is
// smaller is no part of a delta, whatever share of it is asked for.
const rounding = 0x1p-94

// Error returns the relative error ‖ΔW − ΔW_r‖/‖ΔW‖ of the best approximation
// of rank r, 0 for a zero delta. All values must be there.
func (s Spectrum) Error(r int) float64 {
	if s.Square == 0 {
		return 0
	}
	tail := 0.0
	for i := len(s.Sigma) - 1; i >= r; i-- {
		tail += float64(s.Sigma[i] * s.Sigma[i])
	}
	return math.Sqrt(tail / s.Square)
}

// A Cost is what a module takes part in a budget with.
type Cost struct {
	Sigma []float64
	Bytes int64 // of one more rank
	Least int   // rank that is given in any case
}

// Allocate shares out a budget: rank after rank goes where a byte removes most
// of Σ‖error‖². That is optimal up to the last rank, because singular values
// are sorted. What is left when the next rank does not fit goes to those that
// do. It returns an error if the least ranks do not fit.
func Allocate(bytes int64, modules []Cost) ([]int, error) {
	ranks := make([]int, len(modules))
	var q queue
	left := bytes
	for i, m := range modules {
		ranks[i] = min(m.Least, len(m.Sigma))
		left -= int64(ranks[i]) * m.Bytes
		q.push(modules, ranks, i)
	}
	if left < 0 {
		return nil, fmt.Errorf("a budget of %s is %s too small", text.Bytes(bytes), text.Bytes(-left))
	}
	heap.Init(&q)
	for len(q) > 0 {
		i := heap.Pop(&q).(offer).module
		if modules[i].Bytes > left {
			continue
		}
		left -= modules[i].Bytes
		ranks[i]++
		if next, ok := newOffer(modules, ranks, i); ok {
			heap.Push(&q, next)
		}
	}
	return ranks, nil
}

// An offer is the next rank of a module and what a byte of it gains.
type offer struct {
	module int
	gain   float64
}

func newOffer(modules []Cost, ranks []int, i int) (offer, bool) {
	m, r := modules[i], ranks[i]
	if r >= len(m.Sigma) || m.Sigma[r] == 0 {
		return offer{}, false
	}
	return offer{i, float64(m.Sigma[r]*m.Sigma[r]) / float64(m.Bytes)}, true
}

// A queue is a heap of offers, the best first, by module where they are equal.
type queue []offer

func (q *queue) push(modules []Cost, ranks []int, i int) {
	if o, ok := newOffer(modules, ranks, i); ok {
		*q = append(*q, o)
	}
}

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].gain != q[j].gain {
		return q[i].gain > q[j].gain
	}
	return q[i].module < q[j].module
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(offer)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
