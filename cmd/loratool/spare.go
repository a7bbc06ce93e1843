package main

import (
	"os"
	"runtime"
	"strconv"
	"sync"
)

// spareProcessor has Go run goroutines on one thread more than it has
// processors, for the rest of the process, unless the environment says how
// many. For commands that write as fast as they compute: the runtime notices
// only after up to some milliseconds that a thread waits for a disk, and a
// processor would be idle until then.
var spareProcessor = sync.OnceFunc(spare)

func spare() {
	now := runtime.GOMAXPROCS(0)
	if n := processors(now, os.Getenv("GOMAXPROCS")); n != now {
		runtime.GOMAXPROCS(n)
	}
}

// processors returns how many threads are to run goroutines in place of now,
// given the variable GOMAXPROCS. The runtime follows it where it is a number
// above 0.
func processors(now int, variable string) int {
	if n, err := strconv.ParseInt(variable, 10, 32); err == nil && n > 0 {
		return now
	}
	return now + 1
}
