package model

import (
	"github.com/loratool/loratool/train/internal/backend"
)

// A Model is a decoder on a backend. It is used by one caller at a time.
type Model struct {
	*Desc
	Prefix  string // of the names of the checkpoint it was read from
	b       backend.Backend
	weights map[string]*Weight // by the names of Desc.Tensors
	order   []string
	params  []*Param
	loras   []*LoRA

	embed, positions *Weight
	blocks           []*block
	final            norm
	head             *Weight     // the embedding if tied
	cos, sin         backend.Mat // [positions, headDim/2]
	prefix           *Prefix
	training         *workspace // grown as batches ask for it
	evaluating       *workspace
}

// A norm is a normalisation with its weights.
type norm struct {
	gamma, beta *Weight
	eps         float32
	layer       bool
}

func (n *norm) op() backend.Norm {
	return backend.Norm{Gamma: n.gamma.mat(), Beta: n.beta.mat(), Eps: n.eps, Layer: n.layer}
}

// A block is one layer of the decoder.
type block struct {
	norm1, norm2 norm
	qNorm, kNorm *norm
	qkv          []*Linear // one if fused, else three
	out          *Linear
	gateUp       []*Linear // gate and up, or up alone
	down         *Linear
	attnAdapter  *Adapter // nil: none
	mlpAdapter   *Adapter
}

// linears returns the linears in the order of Desc.Linears.
func (k *block) linears() []*Linear {
	list := append([]*Linear(nil), k.qkv...)
	list = append(list, k.out)
	list = append(list, k.gateUp...)
	return append(list, k.down)
}

// Open makes a model of the weights of a checkpoint, which must stay readable
// while the model is in use.
func Open(b backend.Backend, d *Desc, from Weights) (*Model, error) {
	prefix, err := d.prefixOf(from)
	if err != nil {
		return nil, err
	}
	l := loader{b: b, from: from, prefix: prefix, weights: map[string]*Weight{}}
	if err := l.all(d); err != nil {
		return nil, err
	}
	m := &Model{Desc: d, Prefix: prefix, b: b, weights: l.weights, order: l.order}
	n := d.names()
	m.embed, m.positions = m.weights[n.embed+".weight"], m.weights[n.positions+".weight"]
	m.final = m.norm(n.finalNorm)
	if m.head = m.weights[HeadName+".weight"]; m.head == nil {
		m.head = m.embed
	}
	for i := range d.Layers {
		m.blocks = append(m.blocks, m.block(i))
	}
	return m, nil
}

func (m *Model) norm(path string) norm {
	return norm{m.weights[path+".weight"], m.weights[path+".bias"], float32(m.Eps), m.LayerNorm}
}

func (m *Model) block(i int) *block {
	n, path := m.names(), m.Desc.block(i)
	k := &block{norm1: m.norm(path + n.norm1), norm2: m.norm(path + n.norm2)}
	if m.QKNorm {
		q, kn := m.norm(path+n.qNorm), m.norm(path+n.kNorm)
		k.qNorm, k.kNorm = &q, &kn
	}
	var list []*Linear
	for j, s := range m.Linears(i) {
		list = append(list, &Linear{LinearSpec: s, W: m.weights[s.Path+".weight"], Bias: m.weights[s.Path+".bias"], index: j})
	}
	if m.Fused {
		k.qkv, k.out, k.gateUp, k.down = list[:1], list[1], list[2:3], list[3]
	} else {
		k.qkv, k.out, k.gateUp, k.down = list[:3], list[3], list[4:6], list[6]
	}
	return k
}

// Params returns what training changes, in a fixed order.
func (m *Model) Params() []*Param { return m.params }

// LoRAs returns the factors that were added, in the order of the modules.
func (m *Model) LoRAs() []*LoRA { return m.loras }

// Backend returns the device of the model.
func (m *Model) Backend() backend.Backend { return m.b }
