package model

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/data"
)

// A Loss is the outcome of a pass: the sum of the losses of the positions
// that are learned, and their number.
type Loss struct {
	Sum    float64
	Count  int
	Tokens int // rows computed, trained rows included
}

// Step runs a batch forward and backward and adds the gradient of scale·Σ loss
// to the gradients of the parameters.
func (m *Model) Step(batch *data.Batch, scale, smoothing float32, key backend.Key) (Loss, error) {
	in, targets := m.input(batch, key)
	if err := m.ready(in, true); err != nil {
		return Loss{}, err
	}
	w := m.training
	m.forward(w, in)
	losses := m.predict(w, targets, head{scale: scale, smoothing: smoothing, grad: true})
	m.backward(w, in)
	return m.total(w, losses, len(in.ids))
}

// Evaluate returns the loss of a batch.
func (m *Model) Evaluate(batch *data.Batch) (Loss, error) {
	in, targets := m.input(batch, backend.Key{Step: evaluation})
	if err := m.ready(in, false); err != nil {
		return Loss{}, err
	}
	w := m.evaluating
	m.forward(w, in)
	return m.total(w, m.predict(w, targets, head{}), len(in.ids))
}

// Logits returns the logits of every token of a batch, rows of the prefix
// left out: len(Tokens)·Vocab values.
func (m *Model) Logits(batch *data.Batch) ([]float32, error) {
	in, _ := m.input(batch, backend.Key{Step: evaluation})
	if err := m.ready(in, false); err != nil {
		return nil, err
	}
	m.forward(m.evaluating, in)
	var rows []int32
	for i := range in.ids {
		if in.virtual == nil || in.virtual[i] < 0 {
			rows = append(rows, int32(i))
		}
	}
	return m.logits(m.evaluating, rows), m.b.Err()
}

// ready checks a batch and makes room for it.
func (m *Model) ready(in *input, gradients bool) (err error) {
	for i, id := range in.ids {
		if int(id) >= m.Vocab || id < 0 && (in.virtual == nil || in.virtual[i] < 0) {
			return fmt.Errorf("token %d is not in the vocabulary of %d", id, m.Vocab)
		}
	}
	n := longest(in.positions)
	if n > m.Context {
		return fmt.Errorf("sequence of %d tokens, the base takes at most %d", n, m.Context)
	}
	if err := m.rotations(n); err != nil {
		return err
	}
	if gradients {
		m.training, err = m.workspace(m.training, len(in.ids), true)
	} else {
		m.evaluating, err = m.workspace(m.evaluating, len(in.ids), false)
	}
	if err != nil {
		return err
	}
	return m.prepare()
}

// total adds up losses.
func (m *Model) total(w *workspace, n, rows int) (Loss, error) {
	losses := make([]float32, n)
	if n > 0 {
		m.b.Read(losses, w.losses.Top(n))
	}
	l := Loss{Count: n, Tokens: rows}
	for _, x := range losses {
		l.Sum += float64(x)
	}
	return l, m.b.Err()
}

// head says how predictions are scored.
type head struct {
	scale, smoothing float32
	grad             bool
}

// predict computes the losses of the rows that have a target, chunk by chunk,
// so that their logits never exist all at once, and with grad the gradient of
// the last block's output. It returns the number of losses.
func (m *Model) predict(w *workspace, targets []int32, h head) int {
	rows, learned := []int32(nil), []int32(nil)
	for i, t := range targets {
		if t >= 0 {
			rows, learned = append(rows, int32(i)), append(learned, t)
		}
	}
	if h.grad {
		m.b.Zero(w.dx.Top(len(targets)))
	}
	n := len(rows)
	if n == 0 {
		return 0
	}
	hx, hn, stat := w.hx.Top(n), w.hn.Top(n), w.hstat.Top(n)
	m.b.Gather(hx, w.last, rows)
	m.b.NormFwd(hn, stat, hx, m.final.op())
	chunk := m.chunkRows(n)
	for from := 0; from < n; from += chunk {
		m.chunk(w, from, learned[from:min(from+chunk, n)], h)
	}
	if h.grad {
		dhx := w.dhx.Top(n)
		m.b.Zero(dhx)
		m.b.NormBwd(dhx, m.final.gamma.grad(), m.final.beta.grad(), w.dhn.Top(n), hx, stat, m.final.op())
		m.b.Scatter(w.dx, dhx, rows)
	}
	return n
}

// chunk scores the rows from from on.
func (m *Model) chunk(w *workspace, from int, targets []int32, h head) {
	n := len(targets)
	x, logits := w.hn.View(from, 0, n, m.Width), w.logits.Top(n)
	m.b.Gemm(x, false, backend.Product{C: logits, B: m.head.Mat, TB: true})
	m.b.CrossEntropy(w.losses.View(from, 0, n, 1), logits, targets, h.scale, h.smoothing, h.grad)
	if !h.grad {
		return
	}
	m.b.Gemm(logits, false, backend.Product{C: w.dhn.View(from, 0, n, m.Width), B: m.head.Mat})
	if m.head.Trained() {
		m.b.Gemm(logits, true, backend.Product{C: m.head.Grad, B: x, Add: true})
	}
}

// logits returns the logits of rows.
func (m *Model) logits(w *workspace, rows []int32) []float32 {
	n := len(rows)
	out := make([]float32, n*m.Vocab)
	if n == 0 {
		return out
	}
	hn := w.hn.Top(n)
	m.b.Gather(w.hx.Top(n), w.last, rows)
	m.b.NormFwd(hn, w.hstat.Top(n), w.hx.Top(n), m.final.op())
	chunk := m.chunkRows(n)
	for from := 0; from < n; from += chunk {
		k := min(chunk, n-from)
		logits := w.logits.Top(k)
		m.b.Gemm(hn.View(from, 0, k, m.Width), false, backend.Product{C: logits, B: m.head.Mat, TB: true})
		m.b.Read(out[from*m.Vocab:(from+k)*m.Vocab], logits)
	}
	return out
}
