package linalg

import (
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParallel(t *testing.T) {
	for _, workers := range []int{0, 1, 2, 3, 8} {
		for _, n := range []int{0, 1, 2, 7, 1000} {
			calls := make([]atomic.Int32, n)
			Parallel(workers, n, func(i int) { calls[i].Add(1) })
			for i := range calls {
				if c := calls[i].Load(); c != 1 {
					t.Errorf("%d workers: f(%d) was called %d times", workers, i, c)
				}
			}
		}
	}
}

// Several callers share the helpers, calls are made within calls, and helpers
// go to sleep between some of them.
func TestParallelShared(t *testing.T) {
	var sum atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for round := range 50 {
				Parallel(3, 8, func(int) {
					Parallel(2, 4, func(int) { sum.Add(1) })
				})
				if round%10 == 0 {
					time.Sleep(2 * patience)
				}
			}
		})
	}
	callers.Wait()
	if got := sum.Load(); got != 4*50*8*4 {
		t.Errorf("%d calls, want %d", got, 4*50*8*4)
	}
}

// A slow call of a helper is waited for, also when the caller's own panics.
func TestParallelWaits(t *testing.T) {
	for _, fail := range []bool{false, true} {
		var finished atomic.Bool
		var both sync.WaitGroup
		both.Add(2)
		func() {
			defer func() {
				if r := recover(); (r != nil) != fail {
					t.Errorf("recovered %v", r)
				}
			}()
			Parallel(2, 2, func(int) {
				both.Done()
				both.Wait() // the caller and the helper have a call each
				if strings.Contains(string(debug.Stack()), "(*helper).work") {
					time.Sleep(5 * patience)
					finished.Store(true)
				} else if fail {
					panic("failed")
				}
			})
		}()
		if !finished.Load() {
			t.Errorf("Parallel returned before a call did, panic: %v", fail)
		}
	}
}
