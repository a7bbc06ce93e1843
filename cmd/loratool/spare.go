package main

import (
	"os"
	"runtime"
)

// spareProcessor has Go run goroutines on one thread more than it has
// processors, until the returned function is called, unless the environment
// says how many. For commands that write as fast as they compute: the runtime
// notices only after up to some milliseconds that a thread waits for a disk,
// and a processor would be idle until then.
func spareProcessor() (restore func()) {
	if os.Getenv("GOMAXPROCS") != "" {
		return func() {}
	}
	old := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(old + 1)
	return func() { runtime.GOMAXPROCS(old) }
}
