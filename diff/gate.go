package diff

import (
	"context"
	"sync"
)

// A gate lets work through while there are places and memory for it, in the
// order in which it comes.
type gate struct {
	mu     sync.Mutex
	free   *sync.Cond
	places int
	memory int64
	inside int
}

func newGate(places int, memory int64) *gate {
	g := &gate{places: places, memory: memory}
	g.free = sync.NewCond(&g.mu)
	return g
}

// enter waits for a place and for size bytes, which are at most all there are.
func (g *gate) enter(ctx context.Context, size int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ctx.Err() == nil && (g.places == 0 || g.memory < size) {
		g.free.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.places, g.memory, g.inside = g.places-1, g.memory-size, g.inside+1
	return nil
}

// leave gives back what enter took.
func (g *gate) leave(size int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.places, g.memory, g.inside = g.places+1, g.memory+size, g.inside-1
	g.free.Broadcast()
}

// wait returns when all who entered have left.
func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.inside > 0 {
		g.free.Wait()
	}
}
