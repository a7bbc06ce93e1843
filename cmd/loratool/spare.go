package main

import (
	"os"
	"runtime"
	"sync"
)

// spareProcessor has Go run goroutines on one thread more than it has
// processors, for the rest of the process, unless the environment says how
// many. For commands that write as fast as they compute: the runtime notices
// only after up to some milliseconds that a thread waits for a disk, and a
// processor would be idle until then.
var spareProcessor = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
})
