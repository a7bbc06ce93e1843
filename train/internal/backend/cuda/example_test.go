//go:build !cuda

package cuda_test

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend/cuda"
)

func ExampleNew() {
	_, _, err := cuda.New(cuda.Options{})
	fmt.Println(err)
	// Output: device cuda in this binary: not supported
}
