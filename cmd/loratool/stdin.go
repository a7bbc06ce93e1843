package main

import (
	"context"
	"io"
)

// An interruptible reader ends with its context, though a read of the reader
// in it may wait for ever, as one of a terminal does.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	type outcome struct {
		n   int
		err error
	}
	own := make([]byte, len(p)) // a read that is given up may still fill it
	done := make(chan outcome, 1)
	go func() {
		n, err := r.Reader.Read(own)
		done <- outcome{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx)
	case o := <-done:
		return copy(p, own[:o.n]), o.err
	}
}
