package merge

import (
	"errors"
	"sync"

	"github.com/loratool/loratool/internal/linalg"
)

// A layoutCache holds the terms laid out for the planes that are being
// computed, shared by all workers, so that memory does not grow with their
// number.
type layoutCache[T linalg.Float] struct {
	lock    sync.Mutex
	entries map[planeKey]*layout[T]
	clock   int
}

type planeKey struct {
	change *change
	plane  int
}

type layout[T linalg.Float] struct {
	key      planeKey
	once     sync.Once
	err      error
	terms    []laidTerm[T]
	users    int
	lastUsed int
}

// idleLayouts is how many planes stay laid out without a user: the one that
// the next chunk most likely needs.
const idleLayouts = 1

// acquire returns the terms of a plane laid out; release gives them back.
func (c *layoutCache[T]) acquire(ch *change, plane int) (*layout[T], error) {
	key := planeKey{ch, plane}
	c.lock.Lock()
	l := c.entries[key]
	if l == nil {
		l = &layout[T]{key: key}
		if c.entries == nil {
			c.entries = map[planeKey]*layout[T]{}
		}
		c.entries[key] = l
	}
	l.users++
	c.clock++
	l.lastUsed = c.clock
	c.lock.Unlock()
	l.once.Do(l.build)
	if l.err != nil {
		c.release(l)
		return nil, l.err
	}
	return l, nil
}

func (c *layoutCache[T]) release(l *layout[T]) {
	c.lock.Lock()
	defer c.lock.Unlock()
	l.users--
	idle := 0
	var oldest *layout[T]
	for _, e := range c.entries {
		if e.users > 0 {
			continue
		}
		idle++
		if oldest == nil || e.lastUsed < oldest.lastUsed {
			oldest = e
		}
	}
	if idle > idleLayouts {
		delete(c.entries, oldest.key)
	}
}

func (l *layout[T]) build() {
	l.err = errInterrupted // what the others find if a fault ends this
	l.err = l.lay()
}

var errInterrupted = errors.New("factors could not be read")

func (l *layout[T]) lay() error {
	ch := l.key.change
	if ch.terms == nil {
		return nil
	}
	terms := ch.terms[l.key.plane]
	l.terms = make([]laidTerm[T], len(terms))
	for i, t := range terms {
		l.terms[i].lay(t, ch.cols)
		if !finite(l.terms[i].maxNorm) && !allFinite(t.right.tensor) {
			return notFinite(t.right.tensor)
		}
	}
	return nil
}
