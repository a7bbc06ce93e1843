package format_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/format"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "base")
	defer os.RemoveAll(dir)
	w, _ := os.Create(filepath.Join(dir, "model.safetensors"))
	safetensors.Write(w, []safetensors.NamedData{{Name: "q_proj.weight", DType: dtype.BF16, Shape: []int{2, 2}, Data: make([]byte, 8)}}, nil)
	w.Close()

	o, err := format.Open(dir, checkpoint.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer o.Close()
	fmt.Println(o.Kind, "because", o.Why)
	// Output: checkpoint because it is a folder with safetensors weights
}
