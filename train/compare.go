package train

import (
	"math"
	"slices"

	"github.com/loratool/loratool/train/internal/backend/cpu"
	"github.com/loratool/loratool/train/internal/data"
	"github.com/loratool/loratool/train/internal/model"
)

// An Agreement says how far the logits of two models are apart.
type Agreement struct {
	Tokens  int     `json:"tokens"`
	Largest float64 `json:"largest_difference"`
	Logit   float64 `json:"largest_logit"`
	Same    int     `json:"same_prediction"` // tokens whose likeliest successor is the same
}

// Relative is the largest difference over the largest logit.
func (a Agreement) Relative() float64 { return a.Largest / max(a.Logit, math.SmallestNonzeroFloat64) }

// Sizes of what Compare reads: enough to touch every weight many times.
const (
	probeSamples = 4
	probeTokens  = 128 // of each
)

// Compare holds the logits of a model against those of the trained one in
// memory, on the first samples, without rounding activations where both are on
// the processor. Rows of a model that differ in nothing differ by 0.
func (t *Trainer) Compare(other *Model) (Agreement, error) {
	var a Agreement
	defer exact(t.m)()
	defer exact(other.m)()
	for _, q := range t.samples[:min(probeSamples, len(t.samples))] {
		n := min(len(q.Tokens), probeTokens)
		b := data.NewBatch(data.Sequence{Tokens: q.Tokens[:n], Learn: q.Learn[:n]})
		want, err := logits(t.m, b)
		if err != nil {
			return a, err
		}
		got, err := logits(other.m, b)
		if err != nil {
			return a, err
		}
		for i := range n {
			a.row(want[i*t.m.Vocab:][:t.m.Vocab], got[i*t.m.Vocab:][:t.m.Vocab])
		}
	}
	return a, nil
}

// exact makes a model on the processor exact until undo is called.
func exact(m *model.Model) (undo func()) {
	b, ok := m.Backend().(*cpu.Backend)
	if !ok {
		return func() {}
	}
	before := b.SetExact(true)
	return func() { b.SetExact(before) }
}

func (a *Agreement) row(want, got []float32) {
	a.Tokens++
	for i, x := range want {
		d := math.Abs(float64(got[i]) - float64(x))
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		a.Largest, a.Logit = max(a.Largest, d), max(a.Logit, math.Abs(float64(x)))
	}
	if slices.Index(want, slices.Max(want)) == slices.Index(got, slices.Max(got)) {
		a.Same++
	}
}
