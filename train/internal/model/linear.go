package model

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// A Linear is y = x·Wᵀ + bias, with a low-rank update if LoRA is set:
//
//	y = x·Wᵀ + s·(drop(x)·Aᵀ)·Bᵀ + bias    (Hu et al. 2021, eq. 3)
//
// and with DoRA y = (m/‖W+s·B·A‖) ⊙ (x·Wᵀ + s·x·Aᵀ·Bᵀ) + bias (Liu et al.
// 2024, eq. 5), the norm taken as a constant in the gradient (section 4.3).
type Linear struct {
	LinearSpec
	W, Bias *Weight
	LoRA    *LoRA
	index   int // in its block
}

// A LoRA is the low-rank update of a linear. B is kept transposed, [r, out],
// so that its products read and write whole rows.
type LoRA struct {
	Path      string // of the linear, with the prefix of the checkpoint
	Linear    *Linear
	Rank      int // trained; A and Bt may have frozen rows after these
	Alpha     float64
	Scaling   float32
	A, Bt     backend.Mat
	Magnitude backend.Mat // DoRA: one row; else empty
	Dropout   float32
	Site      uint32 // places the dropout mask

	dA, dBt, dMagnitude backend.Mat
	norm, ratio         backend.Mat // DoRA: ‖W+s·B·A‖ and m/norm, one row each
}

// trace is what a linear keeps from its forward pass.
type trace struct {
	u  backend.Mat // s·drop(x)·Aᵀ
	y0 backend.Mat // DoRA: y before the magnitude
}

// A call is the forward pass of linears that read one x.
type call struct {
	linears []*Linear
	ys      []backend.Mat
	traces  []trace
	step    backend.Key
}

// forward computes the outputs; dropped is space for x after dropout.
func (c *call) forward(b backend.Backend, x, dropped backend.Mat) {
	var products []backend.Product
	for i, l := range c.linears {
		p := backend.Product{C: c.ys[i], B: l.W.Mat, TB: !l.Transposed}
		if l.LoRA != nil && l.LoRA.dropout(c.step) == 0 {
			p.Low = &backend.Low{U: c.traces[i].u, A: l.LoRA.A, V: l.LoRA.Bt, Scale: l.LoRA.Scaling}
		}
		products = append(products, p)
	}
	b.Gemm(x, false, products...)
	for i, l := range c.linears {
		if l.LoRA != nil {
			c.update(b, i, x, dropped)
		}
		if l.Bias != nil {
			b.AddBias(c.ys[i], l.Bias.Mat)
		}
	}
}

// update adds the low-rank part to output i if that is still to do, and applies
// DoRA's magnitude.
func (c *call) update(b backend.Backend, i int, x, dropped backend.Mat) {
	l, t, y := c.linears[i].LoRA, c.traces[i], c.ys[i]
	if p := l.dropout(c.step); p > 0 {
		b.Dropout(dropped, x, p, l.key(c.step), false)
		b.Gemm(dropped, false, backend.Product{C: t.u, B: l.A, TB: true})
		b.Scale(t.u, l.Scaling)
		b.Gemm(t.u, false, backend.Product{C: y, B: l.Bt, Add: true})
	}
	if !l.Magnitude.Empty() {
		if !t.y0.Empty() {
			b.Copy(t.y0, y)
		}
		b.ScaleCols(y, y, l.ratio)
	}
}

// evaluation is the step of passes without dropout.
const evaluation = 1<<32 - 1

func (l *LoRA) dropout(k backend.Key) float32 {
	if k.Step == evaluation {
		return 0
	}
	return l.Dropout
}

func (l *LoRA) key(k backend.Key) backend.Key {
	k.Site = l.Site
	return k
}

// A back is the backward pass of a call. Space holds intermediate results.
type back struct {
	*call
	dys   []backend.Mat
	x     backend.Mat
	dx    backend.Mat // written; empty: not wanted
	space *spaces
}

// spaces are matrices for results that live during one linear.
type spaces struct {
	du      backend.Mat // [rows, r]
	dropped backend.Mat // [rows, widest input]
	scaled  backend.Mat // DoRA: [rows, widest output]
}

// backward adds to the gradients of the weights and writes dx.
func (k *back) backward(b backend.Backend) {
	for i, l := range k.linears {
		dy := k.dys[i]
		if l.Bias.Trained() {
			b.BiasGrad(l.Bias.Grad, dy)
		}
		if l.W.Trained() {
			k.weight(b, l, dy)
		}
		if l.LoRA != nil && !l.LoRA.Magnitude.Empty() {
			dy = k.magnitude(b, i)
		}
		p := backend.Product{C: k.dx, B: l.W.Mat, TB: l.Transposed, Add: i > 0}
		switch {
		case l.LoRA != nil:
			k.update(b, i, dy, p)
		case !k.dx.Empty():
			b.Gemm(dy, false, p)
		}
	}
}

// weight adds dyᵀ·x to the gradient of W.
func (k *back) weight(b backend.Backend, l *Linear, dy backend.Mat) {
	if l.Transposed {
		b.Gemm(k.x, true, backend.Product{C: l.W.Grad, B: dy, Add: true})
		return
	}
	b.Gemm(dy, true, backend.Product{C: l.W.Grad, B: k.x, Add: true})
}

// update adds to the gradients of A and B, and computes dx, whose part through
// W is p.
func (k *back) update(b backend.Backend, i int, dy backend.Mat, p backend.Product) {
	l := k.linears[i].LoRA
	du := k.space.du.View(0, 0, dy.Rows, l.A.Rows)
	dropped := l.dropout(k.step) > 0
	switch {
	case k.dx.Empty():
		b.Gemm(dy, false, backend.Product{C: du, B: l.Bt, TB: true})
	case dropped:
		b.Gemm(dy, false, p, backend.Product{C: du, B: l.Bt, TB: true})
	default:
		p.Low = &backend.Low{U: du, A: l.Bt, V: l.A, Scale: l.Scaling}
		b.Gemm(dy, false, p)
	}
	if p.Low == nil {
		b.Scale(du, l.Scaling)
	}
	b.Gemm(k.traces[i].u, true, backend.Product{C: l.dBt, B: dy, Add: true})
	x := k.x
	if dropped {
		x = k.space.dropped.View(0, 0, k.x.Rows, k.x.Cols)
		b.Dropout(x, k.x, l.dropout(k.step), l.key(k.step), false)
	}
	b.Gemm(du, true, backend.Product{C: l.dA, B: x, Add: true})
	if dropped && !k.dx.Empty() {
		b.Gemm(du, false, backend.Product{C: x, B: l.A})
		b.Dropout(k.dx, x, l.dropout(k.step), l.key(k.step), true)
	}
}

// magnitude adds to the gradient of DoRA's magnitude and returns dy ⊙ m/norm.
func (k *back) magnitude(b backend.Backend, i int) backend.Mat {
	l, dy := k.linears[i].LoRA, k.dys[i]
	row := k.space.scaled.View(0, 0, 1, dy.Cols)
	b.Zero(row)
	b.ColDot(row, dy, k.traces[i].y0)
	b.Divide(row, row, l.norm)
	b.Add(l.dMagnitude, row, 1)
	scaled := k.space.scaled.View(0, 0, dy.Rows, dy.Cols)
	b.ScaleCols(scaled, dy, l.ratio)
	return scaled
}
