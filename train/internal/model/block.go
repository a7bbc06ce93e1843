package model

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// An input is a batch as the blocks see it.
type input struct {
	ids       []int32
	positions []int32
	segments  []backend.Segment
	virtual   []int32 // for each row its trained prefix row, or −1; nil: none
	key       backend.Key
	cache     []layerCache // nil: keys and values are those of the batch
	cached    int          // rows of the cache before the batch
}

// A layerCache holds the keys and values of a text that goes on.
type layerCache struct{ k, v backend.Mat }

// forward runs the blocks; the result is w.last.
func (m *Model) forward(w *workspace, in *input) {
	rows := len(in.ids)
	x := w.layers[0].x.Top(rows)
	m.b.Gather(x, m.embed.Mat, in.ids)
	if in.virtual != nil {
		m.b.Overwrite(x, m.prefix.rows[0].Mat, in.virtual)
	}
	if m.positions != nil {
		m.b.Gather(w.n.Top(rows), m.positions.Mat, in.positions)
		m.b.Add(x, w.n.Top(rows), 1)
	}
	shared := len(w.layers) == 1 && m.Layers > 1
	for i, k := range m.blocks {
		pass := &pass{m, w, in, k, i, nil, rows}
		next := w.last
		switch {
		case shared:
			pass.s = w.layers[0]
			if i+1 < m.Layers {
				next = pass.s.x
			}
		default:
			pass.s = w.layers[i]
			if i+1 < m.Layers {
				next = w.layers[i+1].x
			}
		}
		pass.forward(next.Top(rows))
	}
}

// A pass is one block at work on one batch.
type pass struct {
	*Model
	w     *workspace
	in    *input
	k     *block
	layer int
	s     *layerSpace
	rows  int
}

func (p *pass) heads() backend.Heads {
	return backend.Heads{Q: p.Heads, KV: p.KVHeads, Dim: p.HeadDim, Window: p.Window, Scale: attentionScale(p.HeadDim)}
}

// split returns q, k and v of a matrix that holds them side by side.
func (p *pass) split(m backend.Mat) (q, k, v backend.Mat) {
	nq, nkv := p.Heads*p.HeadDim, p.KVHeads*p.HeadDim
	m = m.Top(p.rows)
	return m.Columns(0, nq), m.Columns(nq, nkv), m.Columns(nq+nkv, nkv)
}

// gateUp returns gate and up, or up twice where there is no gate.
func (p *pass) gateUp(m backend.Mat) (g, u backend.Mat) {
	m = m.Top(p.rows)
	if !p.Gated {
		return m, m
	}
	return m.Columns(0, p.FF), m.Columns(p.FF, p.FF)
}

// call runs linears on x.
func (p *pass) call(linears []*Linear, x backend.Mat, ys ...backend.Mat) *call {
	c := &call{linears: linears, ys: ys, step: p.in.key}
	for _, l := range linears {
		t := p.s.traces[l.index]
		if l.LoRA != nil {
			t.u = t.u.View(0, 0, p.rows, l.LoRA.A.Rows)
			if !t.y0.Empty() {
				t.y0 = t.y0.Top(p.rows)
			}
		}
		c.traces = append(c.traces, t)
	}
	var dropped backend.Mat
	if !p.w.dropped.Empty() {
		dropped = p.w.dropped.View(0, 0, p.rows, x.Cols)
	}
	c.forward(p.b, x, dropped)
	return c
}

// qkvOut returns where the q, k and v linears write.
func (p *pass) qkvOut(m backend.Mat) []backend.Mat {
	if len(p.k.qkv) == 1 {
		return []backend.Mat{m.Top(p.rows)}
	}
	q, k, v := p.split(m)
	return []backend.Mat{q, k, v}
}

func (p *pass) guOut() []backend.Mat {
	g, u := p.gateUp(p.s.gu)
	if len(p.k.gateUp) == 1 {
		return []backend.Mat{u}
	}
	return []backend.Mat{g, u}
}

// forward runs the block and writes its output to next, which may be its
// input.
func (p *pass) forward(next backend.Mat) {
	b, s, w := p.b, p.s, p.w
	x, x2 := s.x.Top(p.rows), s.x2.Top(p.rows)
	n := w.n.Top(p.rows)
	p.overwrite(x)
	b.NormFwd(n, s.stat1.Top(p.rows), x, p.k.norm1.op())
	p.call(p.k.qkv, n, p.qkvOut(s.qkv)...)
	p.attend()
	p.call([]*Linear{p.k.out}, s.o.Top(p.rows), x2)
	p.adapt(p.k.attnAdapter, &s.attn, x2)
	b.Add(x2, x, 1)

	b.NormFwd(n, s.stat2.Top(p.rows), x2, p.k.norm2.op())
	p.call(p.k.gateUp, n, p.guOut()...)
	p.call([]*Linear{p.k.down}, p.activate(), next)
	p.adapt(p.k.mlpAdapter, &s.mlp, next)
	b.Add(next, x2, 1)
}

// overwrite puts the trained rows of a layer prefix in place.
func (p *pass) overwrite(x backend.Mat) {
	if p.in.virtual != nil && len(p.prefix.rows) > 1 && p.layer > 0 {
		p.b.Overwrite(x, p.prefix.rows[p.layer].Mat, p.in.virtual)
	}
}

// attend normalises and rotates q and k and computes attention.
func (p *pass) attend() {
	q, k, v := p.split(p.s.qkv)
	if p.QKNorm {
		raw := p.s.raw.Top(p.rows)
		p.b.Copy(raw.Columns(0, q.Cols), q)
		p.b.Copy(raw.Columns(q.Cols, k.Cols), k)
		p.eachHead(func(h, at int, n *norm) {
			head := p.s.qkv.Top(p.rows).Columns(at, p.HeadDim)
			p.b.NormFwd(head, p.headStat(h), raw.Columns(at, p.HeadDim), n.op())
		})
	}
	p.rotate(p.s.qkv, false)
	if p.in.cache != nil {
		c := p.in.cache[p.layer]
		p.b.Copy(c.k.View(p.in.cached, 0, p.rows, k.Cols), k)
		p.b.Copy(c.v.View(p.in.cached, 0, p.rows, v.Cols), v)
		k, v = c.k, c.v
	}
	p.b.AttnFwd(p.s.o.Top(p.rows), p.s.attnStat.Top(p.rows), q, k, v, p.in.segments, p.heads())
}

// rotate turns q and k, side by side in m, by their positions, or back.
func (p *pass) rotate(m backend.Mat, inverse bool) {
	if p.Rope != nil {
		qk := m.View(0, 0, p.rows, (p.Heads+p.KVHeads)*p.HeadDim)
		p.b.Rope(qk, p.cos, p.sin, p.HeadDim, p.in.positions, inverse)
	}
}

// eachHead calls f for every head of q and k: its number, its first column in
// q and k side by side, and its norm.
func (p *pass) eachHead(f func(h, at int, n *norm)) {
	for h := range p.Heads + p.KVHeads {
		n := p.k.qNorm
		if h >= p.Heads {
			n = p.k.kNorm
		}
		f(h, h*p.HeadDim, n)
	}
}

func (p *pass) headStat(h int) backend.Mat { return p.s.rawStat.Top(p.rows).Columns(2*h, 2) }

// activate computes the input of the down projection.
func (p *pass) activate() backend.Mat {
	h := p.w.h.Top(p.rows)
	g, u := p.gateUp(p.s.gu)
	if p.Gated {
		p.b.SwiGLUFwd(h, g, u)
	} else {
		p.b.GELUFwd(h, u)
	}
	return h
}
