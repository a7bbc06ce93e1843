package train

import (
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/train/internal/data"
)

// storiesBase opens the small trained model of the test data.
func storiesBase(t testing.TB) *checkpoint.Checkpoint {
	t.Helper()
	base, err := checkpoint.Open("../testdata/stories260k/base", checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Close() })
	return base
}

// pattern returns samples that are easy to learn: a few tokens over and over,
// after a prompt that is not learned.
func pattern(n int) data.Sequences {
	var list data.Sequences
	for i := range n {
		q := data.Sequence{}
		for j := range 12 + i%5 {
			q.Tokens = append(q.Tokens, int32(100+(i+j*j)%7))
			q.Learn = append(q.Learn, j > 3)
		}
		list = append(list, q)
	}
	return list
}

// quick returns options for a short run.
func quick(m Method) Options {
	o := Defaults()
	o.Method, o.Steps, o.Batch, o.LR, o.Workers = m, 8, 4, 1e-2, 2
	o.Targets, o.SaveEvery, o.Accumulate = []string{AllLinear}, 0, 2
	return o
}

// run trains and returns the losses.
func run(t *testing.T, tr *Trainer) (losses []float64) {
	t.Helper()
	err := tr.Run(t.Context(), Hooks{Event: func(e Event) error {
		losses = append(losses, e.Loss)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return losses
}

func newTrainer(t *testing.T, o Options) *Trainer {
	t.Helper()
	tr, err := New(storiesBase(t), pattern(30), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
