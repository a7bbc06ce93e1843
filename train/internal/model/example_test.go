package model_test

import (
	"fmt"

	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/model"
)

func ExampleDescribe() {
	config, err := strictjson.Decode([]byte(`{"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := model.Describe(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range d.Linears(0) {
		fmt.Println(l.Path, l.Out, l.In)
	}
	// Output:
	// h.0.attn.c_attn 2304 768
	// h.0.attn.c_proj 768 768
	// h.0.mlp.c_fc 3072 768
	// h.0.mlp.c_proj 768 3072
}
