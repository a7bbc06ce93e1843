package model

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// lowest returns the first block that has something to train, −1 if what
// comes before the blocks has.
func (m *Model) lowest() int {
	if m.embed.Trained() || m.positions.Trained() || m.prefix != nil {
		return -1
	}
	for i, k := range m.blocks {
		if k.trained() {
			return i
		}
	}
	return len(m.blocks)
}

func (n *norm) trained() bool { return n != nil && (n.gamma.Trained() || n.beta.Trained()) }

func (k *block) trained() bool {
	if k.norm1.trained() || k.norm2.trained() || k.qNorm.trained() || k.kNorm.trained() || k.attnAdapter != nil {
		return true
	}
	for _, l := range k.linears() {
		if l.LoRA != nil || l.W.Trained() || l.Bias.Trained() {
			return true
		}
	}
	return false
}

// backward carries w.dx, the gradient of the last block's output, down to the
// lowest thing that is trained.
func (m *Model) backward(w *workspace, in *input) {
	rows, lowest := len(in.ids), m.lowest()
	for i := len(m.blocks) - 1; i >= max(lowest, 0); i-- {
		p := &pass{m, w, in, m.blocks[i], i, w.layers[i], rows}
		p.backward(i > lowest || p.k.norm1.trained())
	}
	if lowest >= 0 {
		return
	}
	dx := w.dx.Top(rows)
	if m.positions.Trained() {
		m.b.Scatter(m.positions.Grad, dx, in.positions)
	}
	if in.virtual != nil {
		m.b.OverwriteGrad(m.prefix.rows[0].Grad, dx, in.virtual)
	}
	if m.embed.Trained() {
		m.b.Scatter(m.embed.Grad, dx, in.ids)
	}
}

// backward turns w.dx, the gradient of the block's output, into that of its
// input, if that is wanted.
func (p *pass) backward(wanted bool) {
	p.mlpBackward()
	p.attnBackward(wanted)
	if p.in.virtual != nil && len(p.prefix.rows) > 1 && p.layer > 0 {
		p.b.OverwriteGrad(p.prefix.rows[p.layer].Grad, p.w.dx.Top(p.rows), p.in.virtual)
	}
}

// back runs the backward pass of linears.
func (p *pass) back(linears []*Linear, x, dx backend.Mat, dys ...backend.Mat) {
	c := &call{linears: linears, step: p.in.key}
	for _, l := range linears {
		t := p.s.traces[l.index]
		if l.LoRA != nil {
			t.u = t.u.Top(p.rows)
			if !t.y0.Empty() {
				t.y0 = t.y0.Top(p.rows)
			}
		}
		c.traces = append(c.traces, t)
	}
	k := back{call: c, dys: dys, x: x, dx: dx, space: &p.w.back}
	k.backward(p.b)
}

func (p *pass) mlpBackward() {
	b, s, w := p.b, p.s, p.w
	dx, dn, n := w.dx.Top(p.rows), w.dn.Top(p.rows), w.n.Top(p.rows)
	h, dh := p.activate(), w.dh.Top(p.rows)
	g, u := p.gateUp(s.gu)
	p.back([]*Linear{p.k.down}, h, dh, p.adaptBackward(p.k.mlpAdapter, &s.mlp, dx))
	dys := []backend.Mat{g, u}
	if p.Gated {
		b.SwiGLUBwd(g, u, dh)
	} else {
		b.GELUBwd(dh, u)
		dys = []backend.Mat{dh}
	}
	x2, stat := s.x2.Top(p.rows), s.stat2.Top(p.rows)
	b.NormFwd(n, stat, x2, p.k.norm2.op())
	p.back(p.k.gateUp, n, dn, dys...)
	p.normBackward(&p.k.norm2, dx, dn, x2, stat)
}

func (p *pass) normBackward(n *norm, dx, dy, x, stat backend.Mat) {
	p.b.NormBwd(dx, n.gamma.grad(), n.beta.grad(), dy, x, stat, n.op())
}

func (p *pass) attnBackward(wanted bool) {
	b, s, w := p.b, p.s, p.w
	dx, n, dO, o := w.dx.Top(p.rows), w.n.Top(p.rows), w.dO.Top(p.rows), s.o.Top(p.rows)
	p.back([]*Linear{p.k.out}, o, dO, p.adaptBackward(p.k.attnAdapter, &s.attn, dx))
	q, k, v := p.split(s.qkv)
	dq, dk, dv := p.split(w.dqkv)
	b.AttnBwd(dq, dk, dv, dO, o, s.attnStat.Top(p.rows), q, k, v, p.in.segments, p.heads())
	p.rotate(w.dqkv, true)
	if p.QKNorm {
		dq, dk = p.headNormsBackward()
	}
	x, stat := s.x.Top(p.rows), s.stat1.Top(p.rows)
	b.NormFwd(n, stat, x, p.k.norm1.op())
	dn := backend.Mat{}
	if wanted {
		dn = w.dn.Top(p.rows)
	}
	dys := []backend.Mat{dq, dk, dv}
	if len(p.k.qkv) == 1 {
		dys = []backend.Mat{w.dqkv.Top(p.rows)}
	}
	p.back(p.k.qkv, n, dn, dys...)
	if wanted {
		p.normBackward(&p.k.norm1, dx, dn, x, stat)
	}
}

// headNormsBackward returns the gradients of q and k before their norms.
func (p *pass) headNormsBackward() (dq, dk backend.Mat) {
	draw, dqkv, raw := p.w.draw.Top(p.rows), p.w.dqkv.Top(p.rows), p.s.raw.Top(p.rows)
	p.b.Zero(draw)
	p.eachHead(func(h, at int, n *norm) {
		p.normBackward(n, draw.Columns(at, p.HeadDim), dqkv.Columns(at, p.HeadDim), raw.Columns(at, p.HeadDim), p.headStat(h))
	})
	nq := p.Heads * p.HeadDim
	return draw.Columns(0, nq), draw.Columns(nq, draw.Cols-nq)
}
