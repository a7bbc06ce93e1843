package train_test

import (
	"context"
	"fmt"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/train"
)

// samples is a Source in memory.
type samples []train.Sequence

func (s samples) Len() int                { return len(s) }
func (s samples) At(i int) train.Sequence { return s[i] }

func Example() {
	base, err := checkpoint.Open("../testdata/stories260k/base", checkpoint.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer base.Close()
	o := train.Defaults()
	o.Rank, o.Alpha, o.Targets, o.Steps, o.LR = 4, 8, []string{train.AllLinear}, 5, 1e-2
	text := train.Sequence{Tokens: []int32{1, 403, 407, 261}, Learn: []bool{false, true, true, true}}
	t, err := train.New(base, samples{text}, nil, o)
	if err != nil {
		fmt.Println(err)
		return
	}
	first, last := 0.0, 0.0
	err = t.Run(context.Background(), train.Hooks{Event: func(e train.Event) error {
		if e.Step == 1 {
			first = e.Loss
		}
		last = e.Loss
		return nil
	}})
	fmt.Println(err, t.Done(), last < first)
	// Output: <nil> true true
}
