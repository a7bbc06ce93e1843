package model

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend"
)

// An Adapter is a bottleneck behind the attention or the MLP of a block
// (Houlsby et al. 2019): y ← y + Up·GELU(Down·y + b) + c.
type Adapter struct{ down, up *Linear }

// AddAdapters puts two bottlenecks of a width into every block, as the
// AdapterH of Hu et al. 2021, section 5.1. All values are 0 until they are
// set.
func (m *Model) AddAdapters(width int) error {
	for i, k := range m.blocks {
		for _, half := range []struct {
			name string
			to   **Adapter
		}{{"attn", &k.attnAdapter}, {"mlp", &k.mlpAdapter}} {
			path := fmt.Sprintf("%s%sadapter_%s.", m.Prefix, m.Desc.block(i), half.name)
			down, err := m.newLinear(path+"down", m.Width, width)
			if err != nil {
				return err
			}
			up, err := m.newLinear(path+"up", width, m.Width)
			if err != nil {
				return err
			}
			*half.to = &Adapter{down, up}
		}
	}
	return nil
}

// newLinear makes a trained linear with a bias that no base has.
func (m *Model) newLinear(path string, in, out int) (*Linear, error) {
	l := &Linear{LinearSpec: LinearSpec{Path: path, In: in, Out: out, Bias: true}}
	var err error
	if l.W, err = m.newWeight(path+".weight", out, in, false); err != nil {
		return nil, err
	}
	l.Bias, err = m.newWeight(path+".bias", 1, out, true)
	return l, err
}

// newWeight makes a trained matrix, or a vector of one row, that no base has.
func (m *Model) newWeight(name string, rows, cols int, vector bool) (*Weight, error) {
	value, err := m.alloc(rows, cols)
	if err != nil {
		return nil, err
	}
	grad, err := m.alloc(rows, cols)
	if err != nil {
		return nil, err
	}
	m.params = append(m.params, &Param{Name: name, Value: value, Grad: grad, Vector: vector})
	return &Weight{Name: name, Mat: value, Grad: grad}, nil
}

// adapt adds the bottleneck's output to y.
func (p *pass) adapt(k *Adapter, s *adapterSpace, y backend.Mat) {
	if k == nil {
		return
	}
	kept, a, g := s.y.Top(p.rows), s.a.Top(p.rows), s.g.Top(p.rows)
	p.b.Copy(kept, y)
	p.bottleneck(k.down, kept, a)
	p.b.GELUFwd(g, a)
	up := p.w.n.Top(p.rows) // free until the next norm
	p.bottleneck(k.up, g, up)
	p.b.Add(y, up, 1)
}

func (p *pass) bottleneck(l *Linear, x, y backend.Mat) {
	c := call{linears: []*Linear{l}, ys: []backend.Mat{y}, traces: make([]trace, 1), step: p.in.key}
	c.forward(p.b, x, backend.Mat{})
}

// adaptBackward returns the gradient of y before the bottleneck, given dy of
// the one after it, which stays as it is.
func (p *pass) adaptBackward(k *Adapter, s *adapterSpace, dy backend.Mat) backend.Mat {
	if k == nil {
		return dy
	}
	g, out := s.g.Top(p.rows), p.w.dDelta.Top(p.rows)
	p.bottleneckBackward(k.up, g, g, dy) // g is needed for the gradient of up's weight first
	p.b.GELUBwd(g, s.a.Top(p.rows))
	p.bottleneckBackward(k.down, s.y.Top(p.rows), out, g)
	p.b.Add(out, dy, 1)
	return out
}

func (p *pass) bottleneckBackward(l *Linear, x, dx, dy backend.Mat) {
	k := back{call: &call{linears: []*Linear{l}, traces: make([]trace, 1), step: p.in.key}, dys: []backend.Mat{dy}, x: x, dx: dx}
	k.backward(p.b)
}
