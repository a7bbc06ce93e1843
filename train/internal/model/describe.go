// Package model holds decoders: what config.json says of them, their weights,
// and their forward and backward pass as operations of a backend. One
// description covers Llama, Mistral, Qwen2, Qwen3, SmolLM and GPT-2; there is
// no code per family beyond reading its config.
package model

import (
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// A Desc describes a decoder: blocks of attention and MLP, each behind a norm
// and added to its input.
type Desc struct {
	Family  string // model_type
	Layers  int
	Width   int // of the residual stream
	FF      int // inner width of the MLP
	Heads   int
	KVHeads int
	HeadDim int
	Vocab   int
	Context int // longest sequence the config allows
	Window  int // keys that a query sees, 0: all

	LayerNorm bool // with bias, in place of RMSNorm
	Eps       float64
	Rope      *Rope // nil: learned positions, added to the embeddings
	QKNorm    bool  // RMSNorm of each head of q and k
	QKVBias   bool
	OutBias   bool // of the attention's output
	MLPBias   bool
	Gated     bool // SwiGLU; else GELU (tanh)
	Fused     bool // q, k and v are one linear, stored [in, out] like all (Conv1D)
	Tied      bool // the head is the embedding
}

// Rope says how positions rotate queries and keys.
type Rope struct {
	Theta  float64
	Linear float64 // positions are divided by it; 0: 1
	Llama3 *Llama3 // nil: no scaling
}

// Llama3 is the frequency scaling of Llama 3.1 and later.
type Llama3 struct {
	Factor, LowFreq, HighFreq float64
	OriginalContext           float64
}

// families lists what Describe reads.
var families = map[string]func(*fields) Desc{
	"llama":   describeLlama,
	"mistral": describeMistral,
	"qwen2":   describeQwen2,
	"qwen3":   describeQwen3,
	"gpt2":    describeGPT2,
}

// Limits of what a config may ask for before there is a tensor that has such
// a shape: of sizes, so that products of two fit an int; of layers, of which
// the models in use have up to 126; and of values, so that their bytes fit an
// int64.
const (
	maxSize   = 1 << 30
	maxLayers = 4096
	maxValues = 1 << 50
)

func (d *Desc) check() error {
	sizes := []struct {
		name string
		n    int
	}{
		{"number of layers", d.Layers}, {"hidden size", d.Width}, {"MLP size", d.FF}, {"number of heads", d.Heads},
		{"number of key heads", d.KVHeads}, {"head size", d.HeadDim}, {"vocabulary", d.Vocab}, {"context", d.Context},
	}
	for _, s := range sizes {
		if s.n < 1 || s.n > maxSize {
			return fmt.Errorf("config.json: %s is %d", s.name, s.n)
		}
	}
	switch {
	case d.Layers > maxLayers:
		return fmt.Errorf("config.json: number of layers is %d, the limit is %d", d.Layers, maxLayers)
	case d.values() > maxValues:
		return fmt.Errorf("config.json: a model of %.3g values, the limit is %.3g", d.values(), float64(maxValues))
	case d.Heads%d.KVHeads != 0:
		return fmt.Errorf("config.json: %d heads do not share %d key heads evenly", d.Heads, d.KVHeads)
	case d.Rope != nil && d.HeadDim%2 != 0:
		return fmt.Errorf("config.json: heads of odd size %d cannot be rotated", d.HeadDim)
	case d.Eps <= 0:
		return fmt.Errorf("config.json: epsilon of the norms is %g", d.Eps)
	}
	return nil
}

// values estimates how many values the model has, from above.
func (d *Desc) values() (n float64) {
	one := *d
	one.Layers = 1
	for _, s := range one.Tensors() {
		product := float64(d.Layers)
		for _, size := range s.Shape {
			product *= float64(size)
		}
		n += product
	}
	return n
}

// unsupportedFamily says which families there are.
func unsupportedFamily(name string) error {
	known := make([]string, 0, len(families))
	for f := range families {
		known = append(known, f)
	}
	slices.Sort(known)
	return &rule.Unsupported{What: fmt.Sprintf("a model of type %s; known: %v", text.Quote(name), known)}
}
