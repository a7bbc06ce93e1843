package data_test

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/data"
)

func ExampleNewBatch() {
	b := data.NewBatch(
		data.Sequence{Tokens: []int32{1, 20, 30, 2}, Learn: []bool{false, false, true, true}},
		data.Sequence{Tokens: []int32{1, 40}, Learn: []bool{false, true}},
	)
	fmt.Println(b.Tokens)
	fmt.Println(b.Targets)
	fmt.Println(b.Positions)
	fmt.Println(b.Starts, b.Learned())
	// Output:
	// [1 20 30 2 1 40]
	// [-1 30 2 -1 40 -1]
	// [0 1 2 3 0 1]
	// [0 4 6] 3
}
