package tokenizer_test

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/tokenizer"
)

func Example() {
	t, err := tokenizer.Open("../../../testdata/stories260k/base/tokenizer.json")
	if err != nil {
		fmt.Println(err)
		return
	}
	ids := t.Encode("Once upon a time", true)
	fmt.Println(ids)
	fmt.Println(t.Decode(ids, true))
	// Output:
	// [1 403 407 261 378]
	// Once upon a time
}
