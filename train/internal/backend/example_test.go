package backend_test

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend"
)

func ExampleMat_View() {
	m := backend.Dense(nil, 4, 6)
	v := m.View(1, 2, 2, 3)
	fmt.Println(v.Off, v.Rows, v.Cols, v.Stride)
	// Output: 8 2 3 6
}
