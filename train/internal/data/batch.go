// Package data holds training samples as token ids and lays them out as
// batches. It knows files and texts; the model sees batches only.
package data

import "fmt"

// Ignore is the target of a position whose prediction is not learned.
const Ignore = -1

// A Sequence is one sample as token ids.
type Sequence struct {
	Tokens []int32
	// Learn says which tokens are learned: Learn[i] lets the loss count the
	// prediction of Tokens[i] from the tokens before it. Learn[0] has no
	// effect. It has the length of Tokens.
	Learn []bool
}

// Targets counts the tokens of s that the loss counts.
func (s Sequence) Targets() (n int) {
	for i := 1; i < len(s.Tokens); i++ {
		if s.Learn[i] {
			n++
		}
	}
	return n
}

// A Batch is a number of sequences laid end to end, without padding. No
// sequence sees another: attention is bounded by Starts and positions begin
// at 0 in each.
type Batch struct {
	Tokens    []int32
	Targets   []int32 // token to predict at each position, or Ignore
	Positions []int32 // within the sequence
	Starts    []int   // first position of each sequence, and the length of the batch
}

// NewBatch lays sequences out as a batch.
func NewBatch(sequences ...Sequence) *Batch {
	b := &Batch{Starts: []int{0}}
	for _, s := range sequences {
		if len(s.Learn) != len(s.Tokens) {
			panic(fmt.Sprintf("data: %d tokens with a mask of %d", len(s.Tokens), len(s.Learn)))
		}
		for i, t := range s.Tokens {
			target := int32(Ignore)
			if i+1 < len(s.Tokens) && s.Learn[i+1] {
				target = s.Tokens[i+1]
			}
			b.Tokens = append(b.Tokens, t)
			b.Targets = append(b.Targets, target)
			b.Positions = append(b.Positions, int32(i))
		}
		b.Starts = append(b.Starts, len(b.Tokens))
	}
	return b
}

// Learned counts the positions whose prediction is learned.
func (b *Batch) Learned() (n int) {
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}

// A Source gives the samples of a run. Len and At must be cheap and give the
// same samples each time: the loop shuffles by index, and resumes by it.
type Source interface {
	Len() int
	At(i int) Sequence
}

// Sequences is a Source in memory.
type Sequences []Sequence

// Len returns the number of samples.
func (s Sequences) Len() int { return len(s) }

// At returns sample i.
func (s Sequences) At(i int) Sequence { return s[i] }
