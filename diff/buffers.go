package diff

import "sync"

// Buffers keeps memory for deltas from one to the next: clearing new memory
// costs as much as decoding into it.
type buffers struct {
	mu   sync.Mutex
	free [][]float32
}

// get returns n elements of arbitrary content. It takes a buffer of at most
// twice the size, or makes a new one and lets go of those that are free.
func (b *buffers) get(n int) []float32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range b.free {
		if cap(f) >= n && cap(f)/2 <= n {
			b.free = append(b.free[:i], b.free[i+1:]...)
			return f[:n]
		}
	}
	b.free = nil
	return make([]float32, n)
}

func (b *buffers) put(x []float32) {
	if x == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, x)
}
