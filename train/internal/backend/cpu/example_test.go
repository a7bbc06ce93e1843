package cpu_test

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cpu"
)

func ExampleBackend_Gemm() {
	b := cpu.New(1)
	mem, err := b.Alloc(12)
	if err != nil {
		fmt.Println(err)
		return
	}
	at := func(n int) backend.Mat { return backend.Mat{Mem: mem, Off: 4 * n, Rows: 2, Cols: 2, Stride: 2} }
	b.Write(at(0), []float32{1, 2, 3, 4})
	b.Write(at(1), []float32{0, 1, 1, 0})
	b.Gemm(at(0), false, backend.Product{C: at(2), B: at(1)})
	product := make([]float32, 4)
	b.Read(product, at(2))
	fmt.Println(product)
	// Output: [2 1 4 3]
}
