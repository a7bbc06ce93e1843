package model

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// A layerSpace is what one block keeps of its forward pass.
type layerSpace struct {
	x, x2        backend.Mat // inputs of attention and MLP, [rows, width]
	stat1, stat2 backend.Mat
	qkv          backend.Mat // rotated, [rows, q+2·kv]
	raw          backend.Mat // q and k before their norms
	rawStat      backend.Mat // [rows, 2·(heads+kvHeads)]
	o            backend.Mat // [rows, q]
	attnStat     backend.Mat
	gu           backend.Mat // gate and up, or up alone
	traces       []trace     // of the linears, in their order
	attn, mlp    adapterSpace
}

// An adapterSpace is what a bottleneck adapter keeps.
type adapterSpace struct{ y, a, g backend.Mat }

// A workspace holds the matrices of passes of up to a number of rows. With
// one layer for all, it serves passes without gradients.
type workspace struct {
	rows   int
	layers []*layerSpace
	last   backend.Mat // output of the last block
	n      backend.Mat // output of a norm; before the first block, rows of positions
	h      backend.Mat // input of the down projection

	dx, dn, dh, dO, dqkv, draw backend.Mat
	dDelta                     backend.Mat
	back                       spaces
	dropped                    backend.Mat // of the forward pass
	hx, hn, dhx, dhn, hstat    backend.Mat // rows whose prediction is learned
	losses                     backend.Mat
	logits                     backend.Mat
}

// maxLogits bounds the elements of the logits that exist at a time: 128 MiB.
const maxLogits = 1 << 25

// chunkRows returns how many rows of logits are computed at a time.
func (m *Model) chunkRows(rows int) int {
	pieces := max(1, (rows*m.Vocab+maxLogits-1)/maxLogits)
	return (rows + pieces - 1) / pieces
}

// logitRows returns how many rows of logits serve up to so many rows: fewer
// rows may make fewer, and so larger, chunks than all of them.
func (m *Model) logitRows(rows int) int { return min(rows, (maxLogits+m.Vocab-1)/m.Vocab) }

// An allotter allocates matrices and keeps the first error.
type allotter struct {
	m     *Model
	count int64 // elements
	dry   bool  // count only
	err   error
}

// mat allocates a matrix. Where rows would be a multiple of 4096 bytes apart,
// products of it would find a tile's rows in the same few lines of the cache
// and pack them; so there is a gap behind each.
func (a *allotter) mat(rows, cols int) backend.Mat {
	stride := cols
	if stride%1024 == 0 {
		stride += 32
	}
	a.count += int64(rows) * int64(stride)
	if a.err != nil || a.dry || rows == 0 || cols == 0 {
		return backend.Mat{}
	}
	var m backend.Mat
	if m, a.err = a.m.alloc(rows, stride); a.err != nil {
		return backend.Mat{}
	}
	return m.Columns(0, cols)
}

// workspace returns one of at least rows rows in place of old.
func (m *Model) workspace(old *workspace, rows int, gradients bool) (*workspace, error) {
	if old != nil && old.rows >= rows {
		return old, nil
	}
	a := &allotter{m: m}
	return m.layOut(a, rows, gradients), a.err
}

// layOut allocates a workspace.
func (m *Model) layOut(a *allotter, rows int, gradients bool) *workspace {
	w := &workspace{rows: rows}
	d, q := m.Width, m.Heads*m.HeadDim
	w.last, w.n, w.h = a.mat(rows, d), a.mat(rows, d), a.mat(rows, m.FF)
	layers := 1
	if gradients {
		layers = m.Layers
		w.gradients(m, a)
	}
	for i := range layers {
		w.layers = append(w.layers, m.layerSpace(a, i, rows, gradients))
	}
	if m.dropout() {
		w.dropped = a.mat(rows, max(d, q, m.FF))
	}
	w.hx, w.hn, w.hstat, w.losses = a.mat(rows, d), a.mat(rows, d), a.mat(rows, 2), a.mat(rows, 1)
	w.logits = a.mat(m.logitRows(rows), m.Vocab)
	return w
}

// gradients allocates what the backward pass needs.
func (w *workspace) gradients(m *Model, a *allotter) {
	rows, d := w.rows, m.Width
	q, kv := m.Heads*m.HeadDim, m.KVHeads*m.HeadDim
	w.dx, w.dn, w.dh, w.dO, w.dqkv = a.mat(rows, d), a.mat(rows, d), a.mat(rows, m.FF), a.mat(rows, q), a.mat(rows, q+2*kv)
	w.dhx, w.dhn = a.mat(rows, d), a.mat(rows, d)
	if m.QKNorm {
		w.draw = a.mat(rows, q+kv)
	}
	if m.blocks[0].attnAdapter != nil {
		w.dDelta = a.mat(rows, d)
	}
	rank, widest, dora := 0, 0, false
	for _, u := range m.loras {
		rank, widest = max(rank, u.A.Rows), max(widest, u.Linear.Out)
		dora = dora || !u.Magnitude.Empty()
	}
	w.back.du = a.mat(rows, rank)
	if m.dropout() {
		w.back.dropped = a.mat(rows, max(d, q, m.FF))
	}
	if dora {
		w.back.scaled = a.mat(rows, widest)
	}
}

func (m *Model) dropout() bool {
	for _, u := range m.loras {
		if u.Dropout > 0 {
			return true
		}
	}
	return false
}

func (m *Model) layerSpace(a *allotter, i, rows int, gradients bool) *layerSpace {
	d, q, kv := m.Width, m.Heads*m.HeadDim, m.KVHeads*m.HeadDim
	gu := m.FF
	if m.Gated {
		gu *= 2
	}
	s := &layerSpace{
		x: a.mat(rows, d), x2: a.mat(rows, d), stat1: a.mat(rows, 2), stat2: a.mat(rows, 2),
		qkv: a.mat(rows, q+2*kv), o: a.mat(rows, q), attnStat: a.mat(rows, 2*m.Heads), gu: a.mat(rows, gu),
	}
	if m.QKNorm {
		s.raw, s.rawStat = a.mat(rows, q+kv), a.mat(rows, 2*(m.Heads+m.KVHeads))
	}
	k := m.blocks[i]
	for j, l := range k.linears() {
		s.traces = append(s.traces, m.trace(a, l, j, rows, gradients))
	}
	if k.attnAdapter != nil {
		s.attn, s.mlp = m.adapterSpace(a, k.attnAdapter, rows), m.adapterSpace(a, k.mlpAdapter, rows)
	}
	return s
}

// trace allocates what a linear keeps. Without gradients the space of block 0
// serves all, so it is as wide as the widest update of that linear.
func (m *Model) trace(a *allotter, l *Linear, j, rows int, gradients bool) (t trace) {
	if gradients {
		if l.LoRA != nil {
			t.u = a.mat(rows, l.LoRA.A.Rows)
			if !l.LoRA.Magnitude.Empty() {
				t.y0 = a.mat(rows, l.Out)
			}
		}
		return t
	}
	rank := 0
	for _, k := range m.blocks {
		if u := k.linears()[j].LoRA; u != nil {
			rank = max(rank, u.A.Rows)
		}
	}
	t.u = a.mat(rows, rank)
	return t
}

func (m *Model) adapterSpace(a *allotter, k *Adapter, rows int) adapterSpace {
	return adapterSpace{a.mat(rows, m.Width), a.mat(rows, k.down.Out), a.mat(rows, k.down.Out)}
}

// TrainingBytes returns the memory that a step of so many rows takes besides
// weights and optimiser.
func (m *Model) TrainingBytes(rows int) int64 {
	a := &allotter{m: m, dry: true}
	m.layOut(a, rows, true)
	return 4 * a.count
}
