package merge

import (
	"context"
	"runtime"
	"sync"

	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// An intact file is a merged file whose pieces are compared with the sums in
// the record, each once and before its bytes are used: RC011. It is safe for
// concurrent use.
type intact struct {
	record   *record.Reader
	name     string
	file     *safetensors.File
	sums     []byte // joined
	pieces   []checkedPiece
	progress func(int64)
}

type checkedPiece struct {
	once sync.Once
	err  error
}

// newIntact compares the size of a merged file with the record's.
func newIntact(r *record.Reader, m record.Merged, f *safetensors.File, progress func(int64)) (*intact, error) {
	if f.Size() != m.Bytes {
		return nil, r.Fault("RC011", "", "file %q has %d bytes, it had %d", m.Name, f.Size(), m.Bytes)
	}
	n := record.Pieces(m.Bytes)
	if want := int64(n * len(record.Sum{})); m.Pieces.Len != want {
		return nil, r.Fault("RC006", "", "file %q: %d bytes of sums for %d pieces", m.Name, m.Pieces.Len, n)
	}
	sums, err := r.Read(m.Pieces)
	if err != nil {
		return nil, err
	}
	if d := record.DigestOf(sums); d != m.Digest {
		return nil, r.Fault("RC011", "", "file %q had digest %s, and its pieces have %s", m.Name, m.Digest, d)
	}
	return &intact{record: r, name: m.Name, file: f, sums: sums, pieces: make([]checkedPiece, n), progress: progress}, nil
}

// check compares the pieces that bytes [from, to) of the file lie in, unless
// that was done.
func (f *intact) check(from, to int64) error {
	for i := from / record.PieceBytes; i*record.PieceBytes < to; i++ {
		p := &f.pieces[i]
		p.once.Do(func() { p.err = f.compare(int(i)) })
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func (f *intact) compare(i int) error {
	piece := pieceOf(f.file.Mapped(), i)
	mmap.Load(piece)
	var sum record.Sum
	if err := mmap.Guard(func() { sum = record.SumPiece(piece) }); err != nil {
		return err
	}
	if !sum.Is(f.sums, i) {
		return f.record.Fault("RC011", "", "file %q was changed: %s", f.name, tensorsIn(f.file.Header(), int64(i)*record.PieceBytes))
	}
	f.progress(int64(len(piece)))
	return nil
}

// checkAll compares all pieces that were not compared yet, on all processors.
func (f *intact) checkAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for k := range n {
		workers.Go(func() {
			for i := k; i < len(f.pieces) && ctx.Err() == nil; i += n {
				at := int64(i) * record.PieceBytes
				if err := f.check(at, at+1); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}
