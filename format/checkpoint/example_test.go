package checkpoint_test

import (
	"fmt"
	"os"

	"github.com/loratool/loratool/format/checkpoint"
)

func Example() {
	base, err := checkpoint.Open("org/a-model-nobody-has", checkpoint.Options{CacheDirs: []string{os.DevNull}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer base.Close()
	for _, name := range base.Names() {
		_, t, _ := base.Lookup(name)
		fmt.Println(name, t.DType, t.Shape)
	}
	// Output:
	// org/a-model-nobody-has: no such file or folder, and revision main is not in the Hugging Face cache (/dev/null); to download it: hf download org/a-model-nobody-has
}
