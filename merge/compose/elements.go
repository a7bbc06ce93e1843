package compose

import (
	"math"

	"github.com/loratool/loratool/internal/philox"
)

// An elementRule says how elements of several deltas become one: which of
// each are kept, how the kept ones are scaled, and how they agree.
type elementRule struct {
	keep      keepRule
	rescaleL1 bool // scale what is kept to the sum of magnitudes before; else by 1/density if dropped at random
	consensus consensus
}

type keepRule uint8

const (
	all          keepRule = iota
	largest               // the int(density·n) largest magnitudes of a module's delta, and equal ones
	largestOfAll          // the same of all modules of an adapter together (TIES, as published)
	atRandom              // each with probability density (DARE)
)

// A consensus makes one value of the kept values d₁…d_n of an element.
type consensus uint8

const (
	// Σ wᵢ·dᵢ
	weightedSum consensus = iota
	// The mean of the eᵢ = wᵢ·dᵢ that have the sign of Σ eᵢ (TIES, section 3).
	meanOfAgreeing
	// Σ eᵢ/Σ wᵢ over the i with the sign of Σ eᵢ (mergekit, normalized).
	weightedMean
	// Σ eᵢ over the i with the sign of Σ eᵢ (mergekit, not normalized).
	agreeingSum
	// Σ eᵢ over the i with the sign of Σ dᵢ, by their number (PEFT: the vote
	// does not see the weights).
	peftConsensus
)

// combine returns the value of an element. In all rules a sum of zero counts
// as positive, and zeros agree with nobody.
func (k consensus) combine(d, w []float64) float64 {
	vote, sum := 0.0, 0.0
	for i, x := range d {
		e := float64(w[i] * x)
		sum += e
		if k == peftConsensus {
			e = x
		}
		vote += e
	}
	if k == weightedSum {
		return sum
	}
	agreed, weights, count := 0.0, 0.0, 0
	for i, x := range d {
		e := float64(w[i] * x)
		sign := e
		if k == peftConsensus {
			sign = x
		}
		if sign == 0 || (sign > 0) != (vote >= 0) {
			continue
		}
		agreed += e
		weights += w[i]
		count++
	}
	switch {
	case k == weightedMean && weights != 0:
		return agreed / weights
	case (k == meanOfAgreeing || k == peftConsensus) && count > 0:
		return agreed / float64(count)
	}
	return agreed
}

// A sieve keeps elements of one delta.
type sieve struct {
	rule      elementRule
	threshold float64 // for the largest
	density   float64
	key       philox.Key // for those at random
	scale     float64
}

// newSieve returns the sieve of an adapter at a module; its threshold and
// scale may be set later. The random numbers depend on the seed, the number of
// the adapter, the module and the expert.
func newSieve(r elementRule, o Options, adapter int, name string, expert int) sieve {
	s := sieve{rule: r, density: o.Density, scale: 1}
	if r.keep == atRandom {
		s.key = philox.NewKey("loratool dare 1", o.Seed+uint64(adapter)<<32+uint64(expert), name)
		if !r.rescaleL1 {
			s.scale = 1 / o.Density
		}
	}
	return s
}

// sift sets the elements of values that are not kept to 0 and scales the
// others; first is the index of values[0] in the delta.
func (s *sieve) sift(values []float64, first uint64) {
	switch s.rule.keep {
	case largest, largestOfAll:
		if s.density >= 1 {
			return
		}
		for i, x := range values {
			if !(math.Abs(x) >= s.threshold) {
				values[i] = 0
			}
		}
	case atRandom:
		if s.density >= 1 {
			return
		}
		s.drop(values, first)
	}
}

// drop keeps each element with probability density.
func (s *sieve) drop(values []float64, first uint64) {
	limit := s.density * (1 << 32)
	for i := 0; i < len(values); {
		at := first + uint64(i)
		words := s.key.Block(at)
		for _, word := range words[at&3:] {
			if i == len(values) {
				break
			}
			if float64(word) < limit {
				values[i] *= s.scale
			} else {
				values[i] = 0
			}
			i++
		}
	}
}

// kept returns how many of n elements are kept by magnitude.
func kept(n int, density float64) int { return int(density * float64(n)) }

// A selector finds the k-th largest magnitude of many values in four passes
// over them, 16 bits of the float64 at a time.
type selector struct {
	rank   int // of the value looked for among those with the prefix, from 1
	prefix uint64
	pass   int
	counts [1 << 16]int
}

const selectorPasses = 4

// count counts values in the current pass.
func (s *selector) count(values []float64) {
	shift := 48 - 16*s.pass
	for _, x := range values {
		u := math.Float64bits(x) &^ (1 << 63)
		if s.pass == 0 || u>>(shift+16) == s.prefix {
			s.counts[u>>shift&0xffff]++
		}
	}
}

// add adds the counts of another selector in the same pass.
func (s *selector) add(o *selector) {
	for i, n := range o.counts {
		s.counts[i] += n
	}
}

// next ends a pass: the value looked for has the prefix that is now known.
func (s *selector) next() {
	at := len(s.counts) - 1
	for at > 0 && s.rank > s.counts[at] {
		s.rank -= s.counts[at]
		at--
	}
	s.prefix = s.prefix<<16 | uint64(at)
	s.pass++
	clear(s.counts[:])
}

// value returns the magnitude that was found after the last pass.
func (s *selector) value() float64 { return math.Float64frombits(s.prefix) }

// kthLargest returns the k-th largest magnitude among the values that visit
// passes to its argument, and +Inf for k = 0.
func kthLargest(k int, visit func(func([]float64))) float64 {
	if k == 0 {
		return math.Inf(1)
	}
	s := &selector{rank: k}
	for range selectorPasses {
		visit(s.count)
		s.next()
	}
	return s.value()
}
