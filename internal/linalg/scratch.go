package linalg

import "sync"

// maxTile is the number of elements of the largest tile: 12×32.
const maxTile = 12 * 32

// scratch is the memory of one product in progress.
type scratch[T Float] struct {
	a, b []T // packed blocks
	edge []T // a packed panel
	tile [maxTile]T
}

// The pools keep scratch between products, so that small ones do not
// allocate.
var pool32, pool64 sync.Pool

func pool[T Float]() *sync.Pool {
	if narrow[T]() {
		return &pool32
	}
	return &pool64
}

func getScratch[T Float]() *scratch[T] {
	if s, ok := pool[T]().Get().(*scratch[T]); ok {
		return s
	}
	return new(scratch[T])
}

func putScratch[T Float](s *scratch[T]) { pool[T]().Put(s) }

// grow returns (*buf)[:n], after replacing *buf if that is too short. The
// contents are arbitrary.
func grow[T Float](buf *[]T, n int) []T {
	if cap(*buf) < n {
		*buf = make([]T, n)
	}
	return (*buf)[:n]
}
