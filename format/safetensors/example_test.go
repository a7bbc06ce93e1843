package safetensors_test

import (
	"bytes"
	"fmt"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

func Example() {
	var file bytes.Buffer
	err := safetensors.Write(&file, []safetensors.NamedData{
		{Name: "a", DType: dtype.BF16, Shape: []int{1, 2}, Data: []byte{0x80, 0x3F, 0x00, 0x40}},
	}, map[string]string{"format": "pt"})
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := safetensors.ReadHeader(bytes.NewReader(file.Bytes()), int64(file.Len()), "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range h.Tensors() {
		fmt.Println(t.Name, t.DType, t.Shape, t.End-t.Begin, "bytes")
	}

	_, err = safetensors.ReadHeader(bytes.NewReader(file.Bytes()), int64(file.Len()-1), "example")
	fmt.Println(err)
	// Output:
	// a BF16 [1 2] 4 bytes
	// example: file is 1 bytes too short: 3 of 4 tensor bytes are there [ST016]
}
