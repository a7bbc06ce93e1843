package diff

import (
	"hash/fnv"
	"math"

	"github.com/loratool/loratool/internal/linalg"
	"github.com/loratool/loratool/internal/lowrank"
)

// tolerance is what the singular values found may miss of the best error, in
// its square: 0.4 %, so that the error itself is at most 0.2 % above that of
// Eckart and Young (1936) where the estimate holds. The promise is 0.5 %.
const tolerance = 0.004

// resolution is the relative error of squared norms of float32 data: no error
// is sought below.
const resolution = 1e-12

// A truncation holds the leading singular triplets of a delta.
type truncation struct {
	rank    int
	full    bool      // the rule asks for more than may be kept, or than is worth it
	squares []float64 // Ritz values squared, rank of them and some more
	// left and right have rank+probes rows; see linalg.Krylov.Factors.
	left, right  linalg.Mat[float32]
	exponent     int // of the delta; squares and factors are those of Δ·2^-exponent
	stochastic   bool
	noise2, edge float64 // of stochastic rounding, if it was found
}

// sigma returns the singular values that were found.
func (t *truncation) sigma() []float64 {
	s := roots(t.squares)
	for i := range s {
		s[i] = math.Ldexp(s[i], t.exponent)
	}
	return s
}

// truncator finds truncations.
type truncator struct {
	workers int
	seed    uint64
	maxRank int // of adaptive rules
	probes  int // triplets beyond the rank
	exact   bool
	delta   *delta // that the source gives; nil: rounding to nearest is all the noise there is
}

// probes is how many triplets beyond the rank a certificate looks at.
const probes = 8

// truncate finds the leading part of x that the rule asks for. It grows a
// Krylov basis until the rule is decided and the error is, by the decrease so
// far, within tolerance of the best.
func (t truncator) truncate(x linalg.Source, name string, rule lowrank.Rule, s stats) (_ *truncation, err error) {
	measured := s.delta2
	rows, cols := x.Dims()
	limit := t.limit(rule, rows, cols)
	k := linalg.NewKrylov(x, firstBlock(rule, limit), t.workers, t.seed, stream(name))
	k.Fine = rule != lowrank.Auto() // which asks what is there above the noise, not how exactly
	var h history
	result := &truncation{}
	for tested := -1; ; k.Widen() {
		if err := k.Grow(); err != nil {
			return nil, err
		}
		h = append(h, append([]float64(nil), k.Squares()...))
		if s.delta2, err = t.total(k, x, rule, measured); err != nil {
			return nil, err
		}
		rank, enough := choose(rule, k.Squares(), s)
		result.full = rank > limit || h.settled(rank, s) && atLeast(rule, k.Squares(), s) > limit
		result.rank = min(rank, limit)
		done := enough && h.settled(result.rank, s) && h.steady(rule, result.rank, s)
		if n, unclear := t.unclear(k, rule, result.rank, limit, h, s); unclear && n != tested {
			tested = n
			if err := t.stochastic(result, k, n, s); err != nil {
				return nil, err
			}
		}
		if result.full { // what is cut off is no approximation of the whole anyway
			done = k.Size() >= 2*limit || k.Size() >= limit && h.settled(result.rank, s)
		}
		if k.Complete() || !t.exact && (done || result.stochastic) {
			break
		}
	}
	return result, t.finish(result, k, rule, s)
}

// total returns ‖X‖², given as it was measured, such that what it is above the
// squares found is what the basis misses: where that is less than sums of
// squares in float32 tell, it is measured by itself. The rule auto does not look
// below its noise.
func (t truncator) total(k *linalg.Krylov, x linalg.Source, rule lowrank.Rule, measured float64) (float64, error) {
	found := 0.0
	for _, q := range k.Squares() {
		found += q
	}
	switch {
	case rule == lowrank.Auto() || measured-found > unresolved*measured:
		return measured, nil
	case k.Complete():
		return found, nil
	}
	u, v := k.Vectors(k.Size())
	missed, _, err := residual(t.workers, x, 1, u, v, linalg.Mat[float32]{Cols: v.Cols})
	return found + missed, err
}

// unclear reports whether the noise may be that of stochastic rounding, which n
// values stand out of.
func (t truncator) unclear(k *linalg.Krylov, rule lowrank.Rule, rank, limit int, h history, s stats) (n int, unclear bool) {
	if rule != lowrank.Auto() || t.delta == nil || s.delta2 == 0 {
		return 0, false
	}
	rows, cols := t.delta.rows, t.delta.cols
	n, ratio := louder(k.Squares(), s, rows, cols)
	differs := n < rank || n == rank && loud(k.Squares()[:n], s, rows, cols)
	ready := k.Complete() || !t.exact && h.settled(n, s)
	return n, ready && differs && n <= limit && ratio <= loudest
}

// finish fills in what follows from the rank.
func (t truncator) finish(r *truncation, k *linalg.Krylov, rule lowrank.Rule, s stats) (err error) {
	rows, cols := k.Dims()
	if rule == lowrank.Auto() && !r.stochastic {
		if t.delta != nil && !r.full {
			if r.rank, err = t.swallowed(k, r.rank); err != nil {
				return err
			}
		}
		r.full = r.full || loud(k.Squares()[:r.rank], s, rows, cols)
	}
	if _, ok := rule.Fixed(); !ok && r.rank*(rows+cols) > rows*cols {
		r.full = true // factors are larger than the delta
	}
	r.squares = append([]float64(nil), k.Squares()...)
	more := min(r.rank+t.probes, k.Size())
	if s.delta2 == 0 || r.rank == 0 {
		more = 0
	}
	r.left, r.right = k.Factors(more)
	return nil
}

// stochastic tests whether the first n values are all that stands out of the
// noise of stochastic rounding, which depends on them: fewer may be.
func (t truncator) stochastic(result *truncation, k *linalg.Krylov, n int, s stats) error {
	e := t.delta.exponent
	for {
		left, right := k.Factors(n)
		noise2, edge, ok, err := t.delta.stochastic(t.workers, left, right, math.Ldexp(s.noise2, 2*e))
		if err != nil || !ok {
			return err
		}
		above := 0
		for above < n && math.Ldexp(math.Sqrt(k.Squares()[above]), e) > edge {
			above++
		}
		if above == n {
			result.stochastic, result.full, result.rank, result.noise2, result.edge = true, false, n, noise2, edge
			return nil
		}
		n = above
	}
}

// next returns the right singular vectors beyond the rank, as unit rows.
func (t *truncation) next() linalg.Mat[float32] {
	v := t.right.View(t.rank, 0, t.right.Rows-t.rank, t.right.Cols)
	unit := linalg.Dense(make([]float32, v.Rows*v.Cols), v.Rows, v.Cols)
	for i := range v.Rows {
		root := math.Sqrt(math.Sqrt(t.squares[t.rank+i]))
		if root == 0 {
			continue
		}
		for j, x := range v.Data[i*v.RowStride:][:v.Cols] {
			unit.Data[i*v.Cols+j] = x / float32(root)
		}
	}
	linalg.Orthonormalize(unit) // values that are rounding have vectors that are not
	return unit
}

// limit returns the largest rank that may be kept.
func (t truncator) limit(rule lowrank.Rule, rows, cols int) int {
	if n, ok := rule.Fixed(); ok {
		return min(n, rows, cols)
	}
	return min(t.maxRank, rows, cols)
}

// blockUnit is what block sizes are multiples of: the rows of the largest
// kernel of package linalg.
const blockUnit = 12

// firstBlock returns the size of the first block of a basis: the rank and half
// of it, at least 16, on top; for an adaptive rule what most adapters need.
func firstBlock(rule lowrank.Rule, limit int) int {
	n := min(32, limit)
	if _, ok := rule.Fixed(); ok {
		n = limit
	}
	return (n + max(16, n/2) + blockUnit - 1) / blockUnit * blockUnit
}

// stream numbers the random numbers of a tensor, so that they do not depend on
// the order in which tensors are worked on.
func stream(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// A history holds the squared Ritz values after each block.
type history [][]float64

// energy returns the sum of the rank first values n blocks ago, or false if
// there were fewer.
func (h history) energy(ago, rank int) (float64, bool) {
	i := len(h) - 1 - ago
	if i < 0 || len(h[i]) < rank {
		return 0, false
	}
	sum := 0.0
	for _, q := range h[i][:rank] {
		sum += q
	}
	return sum, true
}

// settled reports whether the energy of the leading values is as large as it
// gets, within tolerance of the error. What is still missing is estimated from
// the last two increases as a geometric series; after one increase, from how
// much faster each value converges than the tail.
func (h history) settled(rank int, s stats) bool {
	e0, ok0 := h.energy(0, rank)
	e1, ok1 := h.energy(1, rank)
	if !ok0 || !ok1 {
		return false
	}
	missing := h.tail(rank)
	if e2, ok := h.energy(2, rank); ok && e1 > e2 {
		missing = series(e0-e1, min(max((e0-e1)/(e1-e2), 0.1), 0.9))
	}
	return missing <= tolerance*max(s.delta2-e0, resolution*s.delta2)
}

// tail estimates what the leading values miss from the last increase of each:
// a block multiplies what σᵢ² misses by at most (τ/σᵢ)², where τ is the largest
// value that the basis has not begun to find, here its smallest one.
func (h history) tail(rank int) (missing float64) {
	now, before := h[len(h)-1], h[len(h)-2]
	last := now[len(now)-1]
	for i := range rank {
		if gain := now[i] - before[i]; gain > 0 {
			missing += series(gain, min(last/now[i], 0.75))
		}
	}
	return missing
}

// series returns the sum of what follows x in a geometric series.
func series(x, rate float64) float64 { return x * rate / (1 - rate) }

// steady reports whether the rule chose the same rank one block before.
func (h history) steady(rule lowrank.Rule, rank int, s stats) bool {
	if rule != lowrank.Auto() {
		return true
	}
	before, _ := choose(rule, h[max(0, len(h)-2)], s)
	return before >= rank
}
