package merge

import (
	"sync"

	"github.com/loratool/loratool/internal/mmap"
)

// A bufferPool keeps the buffers of one file's workers for those of the next:
// the system clears what it gives anew.
type bufferPool struct {
	lock sync.Mutex
	free []*mmap.Buffer
}

// get returns a buffer of chunkBytes.
func (p *bufferPool) get() (*mmap.Buffer, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if n := len(p.free) - 1; n >= 0 {
		b := p.free[n]
		p.free = p.free[:n]
		return b, nil
	}
	return mmap.NewBuffer(chunkBytes)
}

func (p *bufferPool) put(b *mmap.Buffer) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.free = append(p.free, b)
}

// close frees the buffers that were put back.
func (p *bufferPool) close() {
	for _, b := range p.free {
		b.Close()
	}
	p.free = nil
}
