package model

import "strconv"

// A Spec is one tensor of a checkpoint.
type Spec struct {
	Name  string // in the checkpoint, without the prefix of the decoder
	Shape []int
	Bias  bool
}

// Elements returns the product of the shape.
func (s Spec) Elements() int64 {
	n := int64(1)
	for _, d := range s.Shape {
		n *= int64(d)
	}
	return n
}

// A LinearSpec is one linear of a block: y = x·Wᵀ + bias.
type LinearSpec struct {
	Path       string // dotted path of the module, without the prefix
	In, Out    int
	Bias       bool
	Transposed bool // stored [in, out] (Conv1D)
}

// tensors returns the weight and bias of the linear.
func (l LinearSpec) tensors() []Spec {
	shape := []int{l.Out, l.In}
	if l.Transposed {
		shape = []int{l.In, l.Out}
	}
	list := []Spec{{Name: l.Path + ".weight", Shape: shape}}
	if l.Bias {
		list = append(list, Spec{Name: l.Path + ".bias", Shape: []int{l.Out}, Bias: true})
	}
	return list
}

// blockNames are the module paths of one block and of the parts around them.
type blockNames struct {
	prefix                      string // of a model with a head; a bare decoder has none
	embed, positions, finalNorm string
	block                       string // followed by the number
	norm1, norm2                string
	q, k, v, out                string // q holds q, k and v where they are fused
	gate, up, down              string
	qNorm, kNorm                string
}

var (
	llamaNames = blockNames{
		prefix: "model.", embed: "embed_tokens", finalNorm: "norm", block: "layers.",
		norm1: "input_layernorm", norm2: "post_attention_layernorm",
		q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj", out: "self_attn.o_proj",
		gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
		qNorm: "self_attn.q_norm", kNorm: "self_attn.k_norm",
	}
	gpt2Names = blockNames{
		prefix: "transformer.", embed: "wte", positions: "wpe", finalNorm: "ln_f", block: "h.",
		norm1: "ln_1", norm2: "ln_2", q: "attn.c_attn", out: "attn.c_proj", up: "mlp.c_fc", down: "mlp.c_proj",
	}
)

// HeadName is the linear that predicts tokens where it is not tied to the
// embedding; it has no prefix.
const HeadName = "lm_head"

func (d *Desc) names() *blockNames {
	if d.Fused {
		return &gpt2Names
	}
	return &llamaNames
}

// Prefix returns what precedes the names of a decoder with a head.
func (d *Desc) Prefix() string { return d.names().prefix }

// block returns the path of block i, with a dot at the end.
func (d *Desc) block(i int) string { return d.names().block + strconv.Itoa(i) + "." }

// Linears returns the linears of block i in the order of the forward pass.
func (d *Desc) Linears(i int) []LinearSpec {
	n, b := d.names(), d.block(i)
	q, kv := d.Heads*d.HeadDim, d.KVHeads*d.HeadDim
	if d.Fused {
		return []LinearSpec{
			{b + n.q, d.Width, q + 2*kv, d.QKVBias, true},
			{b + n.out, q, d.Width, d.OutBias, true},
			{b + n.up, d.Width, d.FF, d.MLPBias, true},
			{b + n.down, d.FF, d.Width, d.MLPBias, true},
		}
	}
	return []LinearSpec{
		{b + n.q, d.Width, q, d.QKVBias, false},
		{b + n.k, d.Width, kv, d.QKVBias, false},
		{b + n.v, d.Width, kv, d.QKVBias, false},
		{b + n.out, q, d.Width, d.OutBias, false},
		{b + n.gate, d.Width, d.FF, d.MLPBias, false},
		{b + n.up, d.Width, d.FF, d.MLPBias, false},
		{b + n.down, d.FF, d.Width, d.MLPBias, false},
	}
}

// norm returns the tensors of a norm of the given width.
func (d *Desc) norm(path string, width int) []Spec {
	list := []Spec{{Name: path + ".weight", Shape: []int{width}}}
	if d.LayerNorm {
		list = append(list, Spec{Name: path + ".bias", Shape: []int{width}, Bias: true})
	}
	return list
}

// Tensors returns every tensor of the model once, in the order of the forward
// pass; a tied head is not listed.
func (d *Desc) Tensors() []Spec {
	n := d.names()
	list := []Spec{{Name: n.embed + ".weight", Shape: []int{d.Vocab, d.Width}}}
	if d.Rope == nil {
		list = append(list, Spec{Name: n.positions + ".weight", Shape: []int{d.Context, d.Width}})
	}
	for i := range d.Layers {
		b := d.block(i)
		list = append(list, d.norm(b+n.norm1, d.Width)...)
		for _, l := range d.Linears(i) {
			list = append(list, l.tensors()...)
		}
		if d.QKNorm {
			list = append(list, Spec{Name: b + n.qNorm + ".weight", Shape: []int{d.HeadDim}},
				Spec{Name: b + n.kNorm + ".weight", Shape: []int{d.HeadDim}})
		}
		list = append(list, d.norm(b+n.norm2, d.Width)...)
	}
	list = append(list, d.norm(n.finalNorm, d.Width)...)
	if !d.Tied {
		list = append(list, Spec{Name: HeadName + ".weight", Shape: []int{d.Vocab, d.Width}})
	}
	return list
}

// Parameters counts the values of the model.
func (d *Desc) Parameters() (n int64) {
	for _, s := range d.Tensors() {
		n += s.Elements()
	}
	return n
}
