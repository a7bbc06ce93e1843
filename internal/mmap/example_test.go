package mmap_test

import (
	"fmt"
	"os"

	"github.com/loratool/loratool/internal/mmap"
)

func Example() {
	f, err := os.Open("example_test.go")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	m, err := mmap.Open(f, 12)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	err = mmap.Guard(func() { fmt.Printf("%s\n", m.Data) })
	if err != nil {
		fmt.Println(err)
	}
	// Output: package mmap
}
