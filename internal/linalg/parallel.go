package linalg

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a goroutine that has nothing to do looks for more
// before it sleeps. A step of training is thousands of short calls of Parallel,
// one right after the other, and to wake a processor takes as long as some.
const patience = 100 * time.Microsecond

// Parallel calls f(0) … f(n-1) on up to workers goroutines, the calling one
// among them, in any order. A fault of a mapped file is one of the caller
// wherever it happens: if the caller has asked for panics on faults, with
// debug.SetPanicOnFault, so do the others, and the first panics here.
func Parallel(workers, n int, f func(i int)) {
	if workers = min(workers, n); workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	j := &job{n: int64(n), f: f, done: make(chan struct{}, 1)}
	j.panicOnFault = debug.SetPanicOnFault(true)
	debug.SetPanicOnFault(j.panicOnFault)
	j.helpers.Store(int64(workers - 1))
	waiting.send(j, workers-1)
	defer j.wait() // even if f panics here
	j.run()
}

// A job is a call of Parallel.
type job struct {
	n       int64
	f       func(i int)
	next    atomic.Int64
	helpers atomic.Int64 // that have not finished
	asleep  atomic.Bool  // the caller waits for done, or all helpers finished
	done    chan struct{}

	panicOnFault bool // the caller's
	fault        atomic.Pointer[fault]
}

// A fault is what the runtime panics with where a mapped page is gone.
type fault interface {
	error
	Addr() uintptr
}

// run calls f until all calls are begun.
func (j *job) run() {
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return
		}
		j.f(int(i))
	}
}

// help is run for a helper.
func (j *job) help() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(j.panicOnFault))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fault:
			j.fault.CompareAndSwap(nil, &r)
			j.next.Store(j.n) // the rest is of no use
		default:
			panic(r)
		}
	}()
	j.run()
}

// finish says that a helper is done with the job.
func (j *job) finish() {
	if j.helpers.Add(-1) == 0 && j.asleep.Swap(true) {
		j.done <- struct{}{}
	}
}

// wait returns when all helpers are done, or panics as one of them did.
func (j *job) wait() {
	j.sleep()
	if f := j.fault.Load(); f != nil {
		panic(*f)
	}
}

// sleep returns when all helpers are done.
func (j *job) sleep() {
	if spin(func() bool { return j.helpers.Load() == 0 }) {
		return
	}
	if !j.asleep.Swap(true) {
		<-j.done
	}
}

// spin returns true as soon as ready does, and false after some patience.
func spin(ready func() bool) bool {
	for start := time.Now(); ; {
		for range 64 {
			if ready() {
				return true
			}
		}
		if time.Since(start) > patience {
			return false
		}
		runtime.Gosched() // the goroutine that is waited for may need this processor
	}
}

// A helper is a goroutine that looks for a job.
type helper struct{ job atomic.Pointer[job] }

// helpers are those that look for a job.
type helpers struct {
	mu   sync.Mutex
	list []*helper
}

var waiting helpers

// send gives a job to n helpers, those that wait and then new ones.
func (w *helpers) send(j *job, n int) {
	w.mu.Lock()
	for ; n > 0 && len(w.list) > 0; n-- {
		last := len(w.list) - 1
		w.list[last].job.Store(j)
		w.list = w.list[:last]
	}
	w.mu.Unlock()
	for range n {
		h := new(helper)
		h.job.Store(j)
		go h.work(w)
	}
}

// work does jobs until none comes for a while.
func (h *helper) work(w *helpers) {
	for {
		j := h.job.Load()
		h.job.Store(nil)
		j.help()
		w.mu.Lock()
		w.list = append(w.list, h)
		w.mu.Unlock()
		j.finish()
		if !spin(func() bool { return h.job.Load() != nil }) && w.remove(h) {
			return
		}
	}
}

// remove takes a helper off the list. It returns false if it has got a job.
func (w *helpers) remove(h *helper) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.list {
		if other == h {
			w.list = append(w.list[:i], w.list[i+1:]...)
			return true
		}
	}
	return false
}
