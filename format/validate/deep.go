package validate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// A block is a piece of a tensor that one goroutine reads.
type block struct {
	file       *safetensors.File
	tensor     int // index into the tensors of all files
	begin, end int64
	t          safetensors.Tensor
}

// blockBytes is a multiple of every element size.
const blockBytes = 4 << 20

// deep reads all values: NaN and infinities (AD017), B and A of zeros only
// (AD018, AD019), BOOL bytes (ST028) and digests (LT008). Of a checkpoint
// without adapter, NaN is a warning: it may be somebody's padding.
func (c *collector) deep(ctx context.Context, files []*safetensors.File, a *adapter.Adapter, n *note.Notes) error {
	if !c.o.Deep || c.fatal {
		return nil
	}
	var blocks []block
	var scans []scan
	for _, f := range files {
		for _, t := range f.Header().Tensors() {
			for at := t.Begin; at < t.End; at += blockBytes {
				blocks = append(blocks, block{f, len(scans), at, min(at+blockBytes, t.End), t})
			}
			scans = append(scans, scan{file: f, t: t})
		}
	}
	if err := scanAll(ctx, blocks, scans, c.o.Progress); err != nil {
		return err
	}
	c.values(scans, a)
	if n != nil && n.Tensors != nil {
		if err := c.digests(ctx, scans, n); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// A scan is what the values of a tensor showed.
type scan struct {
	file    *safetensors.File
	t       safetensors.Tensor
	bad     int // values that are NaN or infinite
	first   int // index of the first of them
	nonZero bool
	odd     int // index of the first BOOL byte that is neither 0 nor 1, plus one
}

// scanAll reads the blocks on all processors.
func scanAll(ctx context.Context, blocks []block, scans []scan, progress func(int64)) error {
	var mu sync.Mutex
	return parallel(ctx, len(blocks), func(i int) {
		b := blocks[i]
		data := b.file.Bytes(safetensors.Tensor{Begin: b.begin, End: b.end})
		found := scanBlock(b.t.DType, data)
		found.first += int((b.begin - b.t.Begin) * 8 / int64(b.t.DType.Bits()))
		found.odd += min(found.odd, 1) * int(b.begin-b.t.Begin)
		mu.Lock()
		scans[b.tensor].merge(found)
		mu.Unlock()
		if progress != nil {
			progress(b.end - b.begin)
		}
	})
}

// parallel runs do for 0…n-1 on all processors, under Guard.
func parallel(ctx context.Context, n int, do func(i int)) error {
	errs := make([]error, min(runtime.GOMAXPROCS(0), n))
	var next atomic.Int64
	var group sync.WaitGroup
	for k := range errs {
		group.Go(func() {
			errs[k] = mmap.Guard(func() {
				for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
					do(i)
				}
			})
		})
	}
	group.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (s *scan) merge(o scan) {
	if o.bad > 0 && (s.bad == 0 || o.first < s.first) {
		s.first = o.first
	}
	if o.odd > 0 && (s.odd == 0 || o.odd < s.odd) {
		s.odd = o.odd
	}
	s.bad += o.bad
	s.nonZero = s.nonZero || o.nonZero
}

// values turns what the scans showed into findings.
func (c *collector) values(scans []scan, a *adapter.Adapter) {
	factor, beside := map[string]rule.ID{}, map[string]bool{}
	if a != nil {
		for _, m := range a.Modules {
			factor[m.A.Name], factor[m.B.Name] = "AD019", "AD018"
			for _, t := range []*adapter.Tensor{m.Magnitude, m.Bias} {
				if t != nil {
					beside[t.Name] = true
				}
			}
		}
	}
	zero := map[rule.ID][]scan{}
	for _, s := range scans {
		e := &rule.Error{File: s.file.Path(), Tensor: s.t.Name, Rule: "AD017"}
		id, isFactor := factor[s.t.Name]
		switch {
		case s.bad > 0:
			e.Err = fmt.Errorf("%d of %d values are NaN or infinite, the first at element %d", s.bad, s.t.Elements(), s.first)
			if !isFactor && !beside[s.t.Name] {
				e.Milder = rule.Warning
			}
			c.add(e)
		case s.odd > 0:
			e.Rule, e.Err = "ST028", fmt.Errorf("BOOL element %d is neither 0 nor 1", s.odd-1)
			c.add(e)
		case isFactor && !s.nonZero:
			zero[id] = append(zero[id], s)
		}
	}
	for _, id := range []rule.ID{"AD018", "AD019"} {
		if z := zero[id]; len(z) > 0 {
			more := ""
			if len(z) > 1 {
				more = fmt.Sprintf(", and so are those of %d more modules", len(z)-1)
			}
			c.add(&rule.Error{File: z[0].file.Path(), Tensor: z[0].t.Name, Rule: id, Err: fmt.Errorf("all values are zero%s", more)})
		}
	}
}

// digests holds the tensors against their digests: LT008.
func (c *collector) digests(ctx context.Context, scans []scan, n *note.Notes) error {
	have := make([]note.Digest, len(scans))
	if err := parallel(ctx, len(scans), func(i int) { have[i] = sha256.Sum256(scans[i].file.Bytes(scans[i].t)) }); err != nil {
		return err
	}
	for i, s := range scans {
		if want := n.Tensors[s.t.Name]; have[i] != want {
			c.add(&rule.Error{File: s.file.Path(), Tensor: s.t.Name, Rule: "LT008", Err: fmt.Errorf("sha256 is %.12s…, the header says %.12s…", have[i], want)})
		}
	}
	return nil
}

// scanBlock looks at whole elements of one dtype.
func scanBlock(d dtype.DType, data []byte) (s scan) {
	switch {
	case d == dtype.BOOL:
		if i := slices.IndexFunc(data, func(b byte) bool { return b > 1 }); i >= 0 {
			s.odd = i + 1
		}
		s.nonZero = true
	case d.Float():
		var special bool
		if special, s.nonZero = d.Inspect(data); special {
			s.first, s.bad = d.NotFinite(data)
		}
	default:
		s.nonZero = true
	}
	return s
}
