package linalg

import (
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
)

// TestParallelFaults reads a page that is gone in a call of the caller, of a
// helper, and of both: the caller gets the fault if it has asked for it.
func TestParallelFaults(t *testing.T) {
	page, err := syscall.Mmap(-1, 0, syscall.Getpagesize(), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(page)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, read := range [][]bool{{true, false}, {false, true}, {true, true}} {
		var found any
		func() {
			defer func() { found = recover() }()
			var both sync.WaitGroup
			both.Add(2)
			Parallel(2, 2, func(i int) {
				both.Done()
				both.Wait() // the caller and the helper have a call each
				if read[i] {
					page[0]++
				}
			})
		}()
		if _, ok := found.(fault); !ok {
			t.Errorf("%v: recovered %v", read, found)
		}
	}
	sum := make([]int, 100)
	Parallel(4, len(sum), func(i int) { sum[i]++ })
	for i, n := range sum {
		if n != 1 {
			t.Errorf("after the faults, f(%d) was called %d times", i, n)
		}
	}
}
