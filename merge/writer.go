package merge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// A segment is a run of bytes of an output file: copied from raw, or computed.
type segment struct {
	offset int64
	size   int64
	raw    []byte
	origin *origin                    // nil, or where raw or what the change begins with lies
	check  func(from, to int64) error // nil, or called before bytes [from, to) of raw are used
	change *change
	read   func(dst []byte, from int64) error // nil, or gives the bytes from an offset of the segment
}

// An origin is a tensor of a mapped file.
type origin struct {
	file   *safetensors.File
	tensor safetensors.Tensor
}

// release lets go of what bytes [from, to) of the segment were made of.
func (s *segment) release(from, to int64) {
	if s.origin == nil {
		return
	}
	if s.change != nil {
		in, out := int64(s.change.from().Bits()), int64(s.change.to().Bits())
		from, to = from*in/out, to*in/out
	}
	s.origin.file.Release(s.origin.tensor, from, to)
}

// An observer sees every chunk of a file: sides returns what is summed up while
// it is made, and chunk gets what is to be recorded of it before it is written.
// Both are called by several goroutines, in any order.
type observer interface {
	sides(start int64, data []byte) []side
	chunk(start int64, length int, fragments []*fragment) error
}

// chunkBytes is what one worker computes and writes at once. Files are cut at
// multiples of it, whatever lies there, so that writes are aligned and the
// statistics are summed in the same parts for any number of workers.
const chunkBytes = 8 << 20

// pageBytes is the alignment that unbuffered writes need.
const pageBytes = 4096

// A writer computes and writes the files of a plan with several workers.
type writer struct {
	layouts32 layoutCache[float32]
	layouts64 layoutCache[float64]
	progress  func(done int64)
	observer  observer // of the file in work, or nil
	buffers   bufferPool
}

// close frees what the writer keeps from file to file.
func (w *writer) close() { w.buffers.close() }

// file writes segments, which cover the file from its first byte, to an empty
// file. It returns the statistics of each change.
func (w *writer) file(ctx context.Context, f *os.File, segments []segment) (map[*change]Stats, error) {
	last := segments[len(segments)-1]
	out := openOutput(f, last.offset+last.size)
	defer out.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := stopWith(ctx)
	chunks := int((out.size + chunkBytes - 1) / chunkBytes)
	parts := make([][]partStats, chunks)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(2*runtime.GOMAXPROCS(0)+1, chunks) {
		workers.Go(func() {
			buffer, err := w.buffers.get()
			if err != nil {
				cancel(err)
				return
			}
			defer w.buffers.put(buffer)
			k := newWorker(w, stop)
			k.buffer = buffer.Data
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= chunks {
					return
				}
				if parts[i], err = k.chunk(out, segments, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return sumParts(parts), nil
}

// partStats are the statistics of the part of a change in one chunk.
type partStats struct {
	change *change
	stats  Stats
}

// sumParts adds the parts in the order of the file.
func sumParts(chunks [][]partStats) map[*change]Stats {
	total := map[*change]Stats{}
	for _, parts := range chunks {
		for _, p := range parts {
			s := total[p.change]
			s.merge(p.stats)
			total[p.change] = s
		}
	}
	return total
}

// A worker fills one buffer at a time.
type worker struct {
	w      *writer
	c32    *computer[float32]
	c64    *computer[float64]
	buffer []byte

	sides     []side      // of the chunk in work
	fragments []*fragment // of the chunk in work
	scratch   []byte      // for elements that are computed and not written
}

func newWorker(w *writer, stop *atomic.Bool) *worker {
	k := &worker{w: w, c32: newComputer32(&w.layouts32), c64: newComputer64(&w.layouts64)}
	k.c32.stopBy(stop)
	k.c64.stopBy(stop)
	return k
}

// stopWith returns what is true once the context has ended. It is looked at
// for each element that takes long, so that nobody waits for a chunk that may
// take a minute.
func stopWith(ctx context.Context) *atomic.Bool {
	stop := new(atomic.Bool)
	context.AfterFunc(ctx, func() { stop.Store(true) })
	return stop
}

// record lets the computers keep what is recorded in f, or nothing.
func (k *worker) record(f *fragment) { k.c32.fragment, k.c64.fragment = f, f }

// chunk computes and writes chunk i of the file.
func (k *worker) chunk(out *output, segments []segment, i int) (parts []partStats, err error) {
	start := int64(i) * chunkBytes
	end := min(start+chunkBytes, out.size)
	buffer := k.buffer[:end-start]
	first, found := slices.BinarySearchFunc(segments, start, func(s segment, at int64) int { return cmp.Compare(s.offset, at) })
	if !found {
		first--
	}
	k.fragments, k.sides = nil, nil
	if k.w.observer != nil {
		k.sides = k.w.observer.sides(start, buffer)
	}
	guard := mmap.Guard(func() {
		for _, s := range segments[first:] {
			if s.offset >= end || err != nil {
				return
			}
			from, to := max(start, s.offset), min(end, s.offset+s.size)
			dst := buffer[from-start : to-start]
			switch {
			case s.change != nil:
				parts = append(parts, partStats{change: s.change})
				err = k.compute(dst, int(from-start), &s, from-s.offset, &parts[len(parts)-1].stats)
			case s.read != nil:
				err = s.read(dst, from-s.offset)
			default:
				err = k.copy(dst, int(from-start), &s, from-s.offset)
			}
			if err == nil {
				k.made(int(to - start))
				s.release(from-s.offset, to-s.offset)
			}
		}
		k.made(math.MaxInt)
	})
	if err = errors.Join(err, guard); err != nil {
		return nil, err
	}
	if k.w.observer != nil {
		if err := k.w.observer.chunk(start, len(buffer), k.fragments); err != nil {
			return nil, err
		}
	}
	if err := out.write(buffer, start); err != nil {
		return nil, err
	}
	k.w.progress(end - start)
	return parts, nil
}

// compute fills dst, which is at an offset of the chunk, with the bytes of a
// changed segment from first on.
func (k *worker) compute(dst []byte, at int, seg *segment, first int64, s *Stats) error {
	k.record(nil)
	if seg.change.recorded {
		k.fragments = append(k.fragments, &fragment{change: seg.change})
		k.record(k.fragments[len(k.fragments)-1])
	}
	defer k.unfollow()
	if len(seg.change.replaced) == 0 { // or rows are put in their place in the end
		k.follow(at)
	}
	return k.fill(dst, seg.change, first, first+int64(len(dst)), s)
}

// copyBytes is how much is copied before it is summed up.
const copyBytes = 128 << 10

// copy fills dst, which is at an offset of the chunk, with the bytes of a
// segment from first on, as they are.
func (k *worker) copy(dst []byte, at int, seg *segment, first int64) error {
	if seg.check != nil {
		if err := seg.check(first, first+int64(len(dst))); err != nil {
			return err
		}
	}
	for src := seg.raw[first:]; len(dst) > 0; {
		if k.c32.stop.Load() {
			return errStopped
		}
		n := copy(dst[:min(copyBytes, len(dst))], src)
		dst, src, at = dst[n:], src[n:], at+n
		k.made(at)
	}
	return nil
}

// fill computes bytes [first, last) of a changed tensor. A chunk may begin or
// end within an element of it; such an element is computed for both chunks and
// counted for the one that has its first byte.
func (k *worker) fill(dst []byte, ch *change, first, last int64, s *Stats) error {
	width := int64(ch.to().Bits() / 8)
	if head := first % width; head != 0 {
		n, err := k.partial(dst, ch, first/width, head)
		if err != nil {
			return err
		}
		dst, first = dst[n:], first+int64(n)
	}
	whole := (last - first) / width * width
	if whole > 0 {
		if err := k.elements(dst[:whole], ch, first/width, (first+whole)/width, s); err != nil {
			return err
		}
	}
	if tail := last - first - whole; tail > 0 {
		k.unfollow()
		var one Stats
		element := make([]byte, width)
		if err := k.elements(element, ch, last/width, last/width+1, &one); err != nil {
			return err
		}
		copy(dst[whole:], element)
		s.merge(one)
	}
	return nil
}

// partial writes the bytes of element i from head on. The element counts and
// is recorded elsewhere.
func (k *worker) partial(dst []byte, ch *change, i, head int64) (int, error) {
	var uncounted Stats
	defer func(f *fragment, finished func(int)) {
		k.record(f)
		k.c32.finished, k.c64.finished = finished, finished
	}(k.c32.fragment, k.c32.finished)
	k.record(nil)
	k.unfollow()
	element := make([]byte, ch.to().Bits()/8)
	if err := k.elements(element, ch, i, i+1, &uncounted); err != nil {
		return 0, err
	}
	return copy(dst, element[head:]), nil
}

func (k *worker) elements(dst []byte, ch *change, first, last int64, s *Stats) error {
	if ch.inverse != nil {
		return k.restore(dst, ch, int(first), int(last))
	}
	var err error
	if ch.single() {
		err = k.c32.fill(dst, ch, int(first), int(last), s)
	} else {
		err = k.c64.fill(dst, ch, int(first), int(last), s)
	}
	if err != nil {
		return err
	}
	return ch.replaceRows(dst, int(first), int(last))
}

// An output is a file that is written in aligned pieces, past the page cache
// where the system allows it: the data are on the disk when the last write
// returns, so that syncing costs nothing, and memory is left to others.
type output struct {
	file   *os.File
	direct *os.File // nil if the file system has no unbuffered writes
	size   int64
}

func openOutput(f *os.File, size int64) *output {
	return &output{file: f, direct: openDirect(f.Name()), size: size}
}

func (o *output) close() {
	if o.direct != nil {
		o.direct.Close()
	}
}

func (o *output) write(b []byte, at int64) error {
	if o.direct != nil && len(b)%pageBytes == 0 {
		if _, err := o.direct.WriteAt(b, at); err == nil || !isInvalid(err) {
			return err
		}
	}
	if _, err := o.file.WriteAt(b, at); err != nil {
		return fmt.Errorf("write %s: %w", o.file.Name(), err)
	}
	return nil
}
