package strictjson_test

import (
	"fmt"

	"github.com/loratool/loratool/internal/strictjson"
)

func Example() {
	v, err := strictjson.Decode([]byte(`{"r": 8, "lora_alpha": 16.0}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	alpha, _ := v.Lookup("lora_alpha")
	fmt.Println(alpha.Kind, alpha.Text)

	_, err = strictjson.Decode([]byte(`{"r": 8, "\u0072": 64}`))
	fmt.Println(err)
	// Output:
	// a number 16.0
	// byte 9: key "r" occurs twice
}
