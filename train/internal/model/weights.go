package model

import (
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

// A Stored is a tensor of a checkpoint.
type Stored struct {
	DType dtype.DType
	Shape []int
	Bytes []byte
}

// Weights finds the tensors of a checkpoint by their names.
type Weights interface {
	Tensor(name string) (Stored, bool)
}

// A Weight is a matrix of the model with its gradient; a vector has one row.
// Grad is empty while the weight is frozen.
type Weight struct {
	Name string // in the checkpoint
	backend.Mat
	Grad   backend.Mat
	bias   bool
	vector bool // its shape has one dimension
}

// Trained reports whether the weight has a gradient.
func (w *Weight) Trained() bool { return w != nil && !w.Grad.Empty() }

// mat returns the matrix, the empty one for a weight that is not there.
func (w *Weight) mat() backend.Mat {
	if w == nil {
		return backend.Mat{}
	}
	return w.Mat
}

func (w *Weight) grad() backend.Mat {
	if w == nil {
		return backend.Mat{}
	}
	return w.Grad
}

// A Param is something the optimiser changes. Rows of Value and Grad are all
// its own.
type Param struct {
	Name        string
	Value, Grad backend.Mat
	Vector      bool // a bias or a norm, which weight decay leaves alone
	Up          bool // LoRA's B, whose learning rate LoRA+ multiplies
}

// Elements counts the values of p.
func (p *Param) Elements() int64 { return int64(p.Value.Rows) * int64(p.Value.Cols) }

// loader reads the weights of a model.
type loader struct {
	b       backend.Backend
	from    Weights
	prefix  string
	weights map[string]*Weight
	order   []string // keys of weights in the order of the description
}

// prefixOf finds out whether the checkpoint names tensors with the prefix of
// a model with a head or without.
func (d *Desc) prefixOf(from Weights) (string, error) {
	name := d.names().embed + ".weight"
	for _, prefix := range []string{d.Prefix(), ""} {
		if _, ok := from.Tensor(prefix + name); ok {
			return prefix, nil
		}
	}
	return "", fmt.Errorf("base has no tensor %q, the embedding of a %s", d.Prefix()+name, d.Family)
}

func (l *loader) all(d *Desc) error {
	for _, s := range d.Tensors() {
		if err := l.load(s); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) load(s Spec) error {
	name := s.Name
	if name != HeadName+".weight" {
		name = l.prefix + name
	}
	t, ok := l.from.Tensor(name)
	if !ok {
		return fmt.Errorf("base has no tensor %q", name)
	}
	if !slices.Equal(t.Shape, s.Shape) {
		return fmt.Errorf("tensor %q: shape %v, config.json says %v", name, t.Shape, s.Shape)
	}
	mem, err := l.b.Frozen(t.DType, t.Bytes)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	rows, cols := 1, s.Shape[0]
	if len(s.Shape) == 2 {
		rows, cols = s.Shape[0], s.Shape[1]
	}
	l.weights[s.Name] = &Weight{Name: name, Mat: backend.Dense(mem, rows, cols), bias: s.Bias, vector: len(s.Shape) == 1}
	l.order = append(l.order, s.Name)
	return nil
}

// Thaw makes a weight of the base trainable: a float32 copy takes its place.
func (m *Model) Thaw(name string) (*Param, error) {
	w := m.weights[name]
	value, err := m.alloc(w.Rows, w.Cols)
	if err != nil {
		return nil, err
	}
	m.b.Copy(value, w.Mat)
	if w.Grad, err = m.alloc(w.Rows, w.Cols); err != nil {
		return nil, err
	}
	w.Mat = value
	p := &Param{Name: w.Name, Value: value, Grad: w.Grad, Vector: w.vector}
	m.params = append(m.params, p)
	return p, nil
}

// WeightNames returns the names of the base's weights that Thaw takes, in the
// order of the forward pass. With biases, only those.
func (m *Model) WeightNames(biases bool) (names []string) {
	for _, n := range m.order {
		if m.weights[n].bias || !biases {
			names = append(names, n)
		}
	}
	return names
}

// EmbeddingName returns the name of the embedding in the checkpoint.
func (m *Model) EmbeddingName() string { return m.embed.Name }

func (m *Model) alloc(rows, cols int) (backend.Mat, error) {
	mem, err := m.b.Alloc(rows * cols)
	if err != nil {
		return backend.Mat{}, err
	}
	return backend.Dense(mem, rows, cols), nil
}
