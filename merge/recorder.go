package merge

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/internal/publish"
)

// A recorder writes the reversible record of a merge while it runs.
type recorder struct {
	plan   *Plan
	file   *publish.File
	buffer *bufio.Writer
	w      *record.Writer
	head   record.Head
	sums   [][]record.Sum // of the base's shards

	lock sync.Mutex
	open *assembly // the tensor in work
}

// An assembly is the record of a tensor as far as it is complete.
type assembly struct {
	change *change
	tensor record.Tensor
	sizes  []int
	bits   record.Bits // of the block in work
	blocks int
}

// startRecord begins the record that the options ask for; nil if they do not.
func (p *Plan) startRecord() (*recorder, error) {
	if p.options.Record == "" {
		return nil, nil
	}
	f, err := publish.CreateFile(p.options.Record, p.options.Force)
	if err != nil {
		return nil, err
	}
	r := &recorder{plan: p, file: f, buffer: bufio.NewWriterSize(f.Handle(), 1<<20), sums: make([][]record.Sum, len(p.base.Shards()))}
	if r.w, err = record.NewWriter(r.buffer); err == nil {
		err = r.begin()
	}
	if err != nil {
		f.Abort()
		return nil, err
	}
	return r, nil
}

// begin fills the head with what is known before the work.
func (r *recorder) begin() error {
	o := r.plan.options
	h := &r.head
	h.Version, h.Arithmetic, h.Rounding = record.Version, ArithmeticVersion, "nearest"
	if o.Rounding == Stochastic {
		h.Rounding, h.Seed = "stochastic", strconv.FormatUint(o.Seed, 10)
	}
	if o.DType != 0 {
		h.DType = o.DType.String()
	}
	h.Skip, h.AddMissing = o.Skip, o.AddMissing
	h.Base.Folder = r.plan.base.Dir() != ""
	for _, a := range r.plan.adapters {
		files, err := adapterFiles(a.Source)
		if err != nil {
			return err
		}
		h.Adapters = append(h.Adapters, record.Adapter{Name: filepath.Base(a.Source), Weight: a.Weight, Files: files})
	}
	for i, s := range r.plan.base.Shards() {
		raw := s.File.Header().Raw()
		header, err := r.w.PutCompressed(raw)
		if err != nil {
			return err
		}
		h.Base.Shards = append(h.Base.Shards, record.Shard{Name: s.Name, Bytes: s.File.Size(), Header: header, Raw: int64(len(raw))})
		r.sums[i] = make([]record.Sum, record.Pieces(s.File.Size()))
	}
	for _, f := range r.plan.files {
		for _, s := range f.segments {
			if s.change != nil {
				s.change.recorded = r.plan.isRecorded(s.change)
			}
		}
	}
	return nil
}

// isRecorded reports whether the indices of a change are recorded: of tensors
// that come from a tensor of the base of the same name.
func (p *Plan) isRecorded(ch *change) bool {
	t := p.targets.byName[ch.out.Name]
	return t == nil || t.replace == nil && t.source == t.name
}

// A fileRecorder observes the writing of one file of the output.
type fileRecorder struct {
	*recorder
	base    []byte       // the shard that lies where the file will, nil if none does
	merged  []record.Sum // of the file
	old     []record.Sum // of the shard
	pending map[int64]pendingChunk
	next    int64
}

type pendingChunk struct {
	end       int64
	fragments []*fragment
}

// observe returns the observer of file i of the plan.
func (r *recorder) observe(i int) *fileRecorder {
	f := &fileRecorder{recorder: r, merged: make([]record.Sum, record.Pieces(r.plan.files[i].size)), pending: map[int64]pendingChunk{}}
	if r.plan.options.MaxShardBytes == 0 {
		f.base, f.old = r.plan.base.Shards()[i].File.Mapped(), r.sums[i]
	}
	return f
}

// Chunks are cut where pieces are.
var _ [0]struct{} = [chunkBytes % record.PieceBytes]struct{}{}

// sides implements observer: the chunk and what lies there in the base.
func (f *fileRecorder) sides(start int64, data []byte) []side {
	i := int(start / record.PieceBytes)
	sides := []side{{data: data, sums: f.merged[i:]}}
	if i < len(f.old) {
		end := min(len(f.old), i+record.Pieces(int64(len(data))))
		sides = append(sides, side{data: f.base[start:min(int64(end)*record.PieceBytes, int64(len(f.base)))], sums: f.old[i:end]})
	}
	return sides
}

// chunk implements observer: it keeps the fragments of a chunk until those
// before it are there.
func (f *fileRecorder) chunk(start int64, length int, fragments []*fragment) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.pending[start] = pendingChunk{start + int64(length), fragments}
	for {
		p, ok := f.pending[f.next]
		if !ok {
			return nil
		}
		delete(f.pending, f.next)
		f.next = p.end
		for _, x := range p.fragments {
			if err := f.add(x); err != nil {
				return err
			}
		}
	}
}

// finish completes the file.
func (f *fileRecorder) finish(name string, size int64) error {
	if err := f.closeTensor(); err != nil {
		return err
	}
	guard := mmap.Guard(func() {
		for i := len(f.merged); i < len(f.old); i++ {
			f.old[i] = record.SumPiece(pieceOf(f.base, i))
		}
	})
	if guard != nil {
		return guard
	}
	return f.addMerged(name, "", size, f.merged)
}

func (r *recorder) addMerged(name, same string, size int64, sums []record.Sum) error {
	pieces, err := r.w.Put(record.Join(sums))
	if err != nil {
		return err
	}
	r.head.Merged = append(r.head.Merged, record.Merged{Name: name, Same: same, Bytes: size, Digest: record.Digest(sums), Pieces: pieces})
	return nil
}

// clone records a shard that is copied as it is.
func (r *recorder) clone(ctx context.Context, i int, name string) error {
	f := r.plan.base.Shards()[i].File
	if err := sumPieces(ctx, r.sums[i], f.Mapped()); err != nil {
		return err
	}
	return r.addMerged(name, r.plan.base.Shards()[i].Name, f.Size(), r.sums[i])
}

// add appends a fragment to the record of its tensor.
func (r *recorder) add(f *fragment) error {
	f.closeBlock()
	if r.open != nil && r.open.change != f.change {
		if err := r.closeTensor(); err != nil {
			return err
		}
	}
	if r.open == nil {
		ch := f.change
		blocks := (ch.planes*ch.rows*ch.cols + record.BlockElements - 1) / record.BlockElements
		r.open = &assembly{change: ch, blocks: blocks, tensor: record.Tensor{Name: strings.Clone(ch.out.Name), Kind: record.Preimages, Data: record.Blob{At: r.w.At()}}}
	}
	for _, b := range f.blocks {
		if err := r.open.advance(r.w, b.block); err != nil {
			return err
		}
		r.open.bits.Append(f.bits.Bytes[b.at:], b.n)
	}
	return nil
}

// advance writes the blocks before block.
func (a *assembly) advance(w *record.Writer, block int) error {
	for len(a.sizes) < block {
		b := a.bits.Finish()
		if _, err := w.Put(b); err != nil {
			return err
		}
		a.sizes = append(a.sizes, len(b))
		a.bits.Reset()
	}
	return nil
}

// closeTensor completes the tensor in work.
func (r *recorder) closeTensor() (err error) {
	a := r.open
	if a == nil {
		return nil
	}
	r.open = nil
	if err := a.advance(r.w, a.blocks); err != nil {
		return err
	}
	a.tensor.Data.Len = r.w.At() - a.tensor.Data.At
	if a.tensor.Blocks, err = r.w.PutSizes(a.sizes); err != nil {
		return err
	}
	if d := a.change.dora; d != nil && d.gain != nil {
		var b []byte
		for _, g := range d.gain {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(g))
		}
		gains, err := r.w.Put(b)
		if err != nil {
			return err
		}
		a.tensor.Gains, a.tensor.Radius = &gains, -math.Ilogb(d.radius)
	}
	r.head.Tensors = append(r.head.Tensors, a.tensor)
	return nil
}

// lost writes what the merge took from the base for good: tensors and rows
// that were replaced.
func (r *recorder) lost() error {
	for _, name := range r.plan.targets.names {
		t := r.plan.targets.byName[name]
		shard, old, ok := r.plan.base.Lookup(name)
		if !ok || t.replace == nil && len(t.rows) == 0 {
			continue
		}
		src := r.plan.base.Bytes(shard, old)
		if t.replace == nil {
			src = rowsOf(src, old, t)
		}
		var tensor record.Tensor
		var err error
		width := max(1, old.DType.Bits()/8)
		guard := mmap.Guard(func() { tensor, err = putVerbatim(r.w, strings.Clone(name), width, src) })
		if guard != nil {
			return guard
		}
		if err != nil {
			return err
		}
		r.head.Tensors = append(r.head.Tensors, tensor)
	}
	return nil
}

// rowsOf copies the rows of a tensor that a target replaces.
func rowsOf(src []byte, old safetensors.Tensor, t *target) (rows []byte) {
	_, cols := matrix(old.Shape)
	width := cols * old.DType.Bits() / 8
	for _, r := range t.rows {
		for _, i := range r.Indices {
			rows = append(rows, src[i*width:(i+1)*width]...)
		}
	}
	return rows
}

// commit completes the record and gives it its name.
func (r *recorder) commit(ctx context.Context) (size int64, err error) {
	if err := r.lost(); err != nil {
		return 0, err
	}
	for i, s := range r.plan.base.Shards() {
		if r.plan.options.MaxShardBytes > 0 {
			if err := sumPieces(ctx, r.sums[i], s.File.Mapped()); err != nil {
				return 0, err
			}
		}
		r.head.Base.Shards[i].Digest = record.Digest(r.sums[i])
	}
	if err := r.w.Finish(&r.head); err != nil {
		return 0, err
	}
	if err := r.buffer.Flush(); err != nil {
		return 0, fmt.Errorf("write record: %w", err)
	}
	return r.w.At(), r.file.Commit()
}

// abort leaves no record; it does nothing after commit.
func (r *recorder) abort() {
	if r != nil {
		r.file.Abort()
	}
}
