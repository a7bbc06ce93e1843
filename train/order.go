package train

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/train/internal/backend"
)

// A stream of random words, from Philox with a counter of its own.
type stream struct {
	key     backend.Key
	block   uint64
	words   [4]uint32
	pending int
}

// Streams of a run, by the step of their key.
const (
	streamOrder  = iota // of the samples; the site is the epoch
	streamInit          // of initial values; the site is the parameter
	streamSample        // of generated tokens
)

func newStream(seed uint64, kind, site int) *stream {
	return &stream{key: backend.Key{Seed: seed, Step: uint32(kind), Site: uint32(site)}}
}

func (s *stream) word() uint32 {
	if s.pending == 0 {
		s.words, s.pending = s.key.Mask(s.block), 4
		s.block++
	}
	s.pending--
	return s.words[3-s.pending]
}

// uniform returns a number in [−1, 1) of 24 bits.
func (s *stream) uniform() float32 { return float32(int32(s.word())>>8) * 0x1p-23 }

// below returns a number below n, every one as likely to 2⁻³².
func (s *stream) below(n int) int { return int(uint64(s.word()) * uint64(n) >> 32) }

// order returns the samples of an epoch.
func (t *Trainer) order(epoch int) []int {
	order := make([]int, t.samples.Len())
	for i := range order {
		order[i] = i
	}
	if t.o.NoShuffle {
		return order
	}
	r := newStream(t.o.Seed, streamOrder, epoch)
	for i := len(order) - 1; i > 0; i-- { // Fisher and Yates
		j := r.below(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// microBatches groups the samples of an epoch: Batch of them, or with Pack as
// many as fit Batch·MaxLen tokens.
func (t *Trainer) microBatches(epoch int) (groups [][]int) {
	var group []int
	room := t.o.Batch * t.o.MaxLen
	for _, i := range t.order(epoch) {
		n := len(t.samples.At(i).Tokens)
		full := len(group) == t.o.Batch && !t.o.Pack
		if len(group) > 0 && (full || t.o.Pack && n > room) {
			groups, group, room = append(groups, group), nil, t.o.Batch*t.o.MaxLen
		}
		group = append(group, i)
		room -= n
	}
	return append(groups, group)
}

// A stretch is the steps of one epoch.
type stretch struct{ epoch, first, steps int }

// stepsOf returns how many steps the whole of an epoch has.
func (t *Trainer) stepsOf(epoch int) int {
	micro := (t.samples.Len() + t.o.Batch - 1) / t.o.Batch
	if t.o.Pack {
		micro = len(t.microBatches(epoch))
	}
	return (micro + t.o.Accumulate - 1) / t.o.Accumulate
}

// allSteps returns how many steps the run has. Micro-batches are numbered in
// 32 bits.
func (t *Trainer) allSteps() (n int, err error) {
	whole, part := math.Modf(t.o.Epochs)
	switch {
	case t.o.Steps > 0:
		n = t.o.Steps
	case t.o.Pack: // epochs differ
		for epoch := range int(whole) {
			n += t.stepsOf(epoch)
		}
		n += int(math.Ceil(part * float64(t.stepsOf(int(whole)))))
	default:
		n = int(whole)*t.stepsOf(0) + int(math.Ceil(part*float64(t.stepsOf(0))))
	}
	if n > maxSteps || n > math.MaxUint32/t.o.Accumulate {
		return 0, fmt.Errorf("%d steps of %d batches are too many", n, t.o.Accumulate)
	}
	return n, nil
}
