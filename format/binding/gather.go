package binding

import (
	"cmp"
	"context"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
)

func cmpString(a, b string) int { return cmp.Compare(a, b) }

// shapeOf returns the shape of the weight that a module adapts, and the tensor
// if it is stored as one: then the shape is that of the tensor, else [out, in]
// or [experts, out, in].
func shapeOf(u *adapter.Update, view adapter.View) (shape []int, dt dtype.DType, tensor string) {
	first := u.Pieces[0]
	stored, dt, _ := view.Shape(first.Tensor)
	size := 1
	for _, n := range stored {
		size *= n
	}
	covered := 0
	for _, p := range u.Pieces {
		if p.Tensor != first.Tensor {
			covered = -1
			break
		}
		covered += p.Out.Len * p.In.Len
	}
	if covered == size && identity(u) {
		return stored, dt, first.Tensor
	}
	out, in := extent(u)
	if u.Experts > 1 {
		return []int{u.Experts, out, in}, dt, ""
	}
	return []int{out, in}, dt, ""
}

// identity reports whether the pieces of a tensor lie in it as they are in
// memory: nothing permuted, interleaved or moved to another expert.
func identity(u *adapter.Update) bool {
	for _, p := range u.Pieces {
		row, col := p.Out, p.In
		if p.Transposed {
			row, col = p.In, p.Out
		}
		if p.Row != row || p.Col != col || p.Expert >= 0 && p.Expert != p.Source {
			return false
		}
	}
	return true
}

// extent returns the rows and columns of one expert of the weight.
func extent(u *adapter.Update) (out, in int) {
	for _, p := range u.Pieces {
		out = max(out, p.Out.First+(p.Out.Len-1)*p.Out.Step+1)
		in = max(in, p.In.First+(p.In.Len-1)*p.In.Step+1)
	}
	return out, in
}

// A gatherer writes the elements of a weight in the order in which one tensor
// of the shape [experts, out, in] would hold them.
type gatherer struct {
	base  *checkpoint.Checkpoint
	write func([]byte)
}

// pieceBytes is how much is handed on at once.
const pieceBytes = 1 << 20

func (g *gatherer) weight(ctx context.Context, w *weight) {
	if w.tensor != "" {
		shard, t, _ := g.base.Lookup(w.tensor)
		for b := range slices.Chunk(g.base.Bytes(shard, t), pieceBytes) {
			if ctx.Err() != nil {
				return
			}
			g.write(b)
		}
		return
	}
	out, in := extent(w.update)
	size := w.DType.Bits() / 8
	rows := min(max(pieceBytes/max(in*size, 1), 1), out)
	panel := make([]byte, rows*in*size)
	for e := range w.update.Experts {
		var pieces []adapter.Piece
		for _, p := range w.update.Pieces {
			if p.Source == e {
				pieces = append(pieces, p)
			}
		}
		for r := 0; r < out && ctx.Err() == nil; r += rows {
			n := min(rows, out-r)
			for _, p := range pieces {
				g.fill(panel, p, r, n, in, size)
			}
			g.write(panel[:n*in*size])
		}
	}
}

// fill copies what a piece has of rows [first, first+n) into the panel, whose
// rows are in elements of size bytes long.
func (g *gatherer) fill(panel []byte, p adapter.Piece, first, n, in, size int) {
	shard, t, _ := g.base.Lookup(p.Tensor)
	data, columns := g.base.Bytes(shard, t), columnsOf(t.Shape, p.Expert)
	if p.Expert >= 0 {
		expert := len(data) / max(t.Shape[0], 1)
		data = data[p.Expert*expert:][:expert]
	}
	outOn, inOn := p.Row, p.Col // where out and in run in the tensor
	if p.Transposed {
		outOn, inOn = p.Col, p.Row
	}
	for k := range p.Out.Len {
		r := p.Out.First + k*p.Out.Step - first
		if r < 0 || r >= n {
			continue
		}
		at := outOn.First + k*outOn.Step
		if !p.Transposed && inOn.Step == 1 && p.In.Step == 1 {
			from := (at*columns + inOn.First) * size
			copy(panel[(r*in+p.In.First)*size:], data[from:from+p.In.Len*size])
			continue
		}
		for j := range p.In.Len {
			row, col := at, inOn.First+j*inOn.Step
			if p.Transposed {
				row, col = col, row
			}
			from := (row*columns + col) * size
			copy(panel[(r*in+p.In.First+j*p.In.Step)*size:][:size], data[from:from+size])
		}
	}
}

// columnsOf is the length of a row of the matrix view of a tensor, or of one
// of its experts.
func columnsOf(shape []int, expert int) int {
	skip := 1
	if expert >= 0 && len(shape) > 2 {
		skip = 2
	}
	n := 1
	for _, d := range shape[min(skip, len(shape)):] {
		n *= d
	}
	return n
}
