package corpus_test

import (
	"fmt"
	"strings"

	"github.com/loratool/loratool/train/corpus"
)

func Example() {
	t, err := corpus.Open("../../testdata/stories260k/base")
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := t.Read(strings.NewReader(`{"prompt": "Zog said,", "completion": " \"Hi!\""}`), "data.jsonl")
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, id := range s.At(0).Tokens {
		token, _ := t.Token(id)
		fmt.Print(token, " ", s.At(0).Learn[i], "; ")
	}
	// Output: <s> false; ▁ false; Z false; o false; g false; ▁said false; , false; ▁" true; H true; i true; ! true; " true; </s> true;
}
