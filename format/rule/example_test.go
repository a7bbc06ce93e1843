package rule_test

import (
	"errors"
	"fmt"

	"github.com/loratool/loratool/format/rule"
)

func Example() {
	err := error(&rule.Error{File: "adapter_model.safetensors", Tensor: "x.lora_A.weight", Rule: "AD012",
		Err: errors.New("shape [8 4096], config says rank 16")})
	fmt.Println(err)
	if e, ok := errors.AsType[*rule.Error](err); ok {
		fmt.Println(rule.Cure(e.Rule))
	}
	// Output:
	// adapter_model.safetensors: tensor "x.lora_A.weight": shape [8 4096], config says rank 16 [AD012]
	// correct r or rank_pattern
}
