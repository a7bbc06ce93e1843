// Package adapter holds the canonical LoRA adapter that every dialect reads
// into, and finds its modules among the tensors of a base. It opens no files
// and computes no deltas.
package adapter

import (
	"math"

	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// A Kind tells how the factors of a module make its delta.
type Kind uint8

const (
	// Linear: ΔW = s·B·A is [out, in]. The base may store it transposed.
	Linear Kind = iota
	// Embedding: W is [vocabulary, d] and ΔW = s·(B·A)ᵀ, A [r, vocabulary], B [d, r].
	Embedding
	// Conv: W is [out, in, k…], A [r, in, k…], B [out, r, 1…].
	Conv
	// Stack: W is [experts, d1, d2], A [experts·r, in] expert-major, B [out,
	// r·experts] rank-major (PEFT's ParamWrapper).
	Stack
)

var kindNames = [...]string{"linear", "embedding", "conv", "expert stack"}

func (k Kind) String() string { return kindNames[k] }

// A ScalingRule makes the scaling of a module from its alpha and rank.
type ScalingRule uint8

const (
	AlphaOverRank     ScalingRule = iota // s = α/r, Hu et al. 2021, section 4.1
	AlphaOverRootRank                    // s = α/√r, rsLoRA (Kalajdzievski 2023)
)

// A Module is one adapted weight of the base.
type Module struct {
	Path  string // dotted path in the base model, without the dialect's prefix
	Param string // parameter of the module, "" for its weight (PEFT's target_parameters name one)
	Kind  Kind
	A, B  Tensor
	Rank  int // of one expert for a Stack
	Alpha float64
	Rule  ScalingRule

	// Multiplicity is how often the delta is applied: 1, but 2 for the
	// out_proj of a torch MultiheadAttention, whose forward pass in PEFT adds
	// the delta twice (peft#3774).
	Multiplicity float64

	Magnitude *Tensor // DoRA, one value per output, or nil
	Bias      *Tensor // lora_B.bias [out], added times the scaling, or nil

	// Candidates are the parameters this module may belong to where the file
	// does not say: PEFT nests wrappers of several parameters of one module
	// without naming them. Depth is the nesting depth, 0 for the outermost.
	// Scales are the rank and alpha of each candidate, nil if all have the
	// module's.
	Candidates []string
	Scales     []Scale
	Depth      int
}

// A Scale is what the scaling of a module is made of.
type Scale struct {
	Rank  int // of one expert
	Alpha float64
}

// As returns the module as its candidate i.
func (m *Module) As(i int) *Module {
	c := *m
	c.Param = m.Candidates[i]
	if m.Scales != nil {
		c.Rank, c.Alpha = m.Scales[i].Rank, m.Scales[i].Alpha
	}
	c.Candidates, c.Scales = nil, nil
	return &c
}

// Name returns the path of the adapted parameter: the module's path, followed
// by the parameter's name if that is not the weight.
func (m *Module) Name() string {
	if m.Param == "" {
		return m.Path
	}
	return m.Path + "." + m.Param
}

// Scaling returns s, rounded once to float64 as PEFT computes it, times the
// multiplicity (a power of two).
func (m *Module) Scaling() float64 {
	r := float64(m.Rank)
	if m.Rule == AlphaOverRootRank {
		r = math.Sqrt(r)
	}
	return m.Alpha / r * m.Multiplicity
}

// Parameters counts the trained values of the module.
func (m *Module) Parameters() int {
	n := m.A.Elements() + m.B.Elements()
	for _, t := range []*Tensor{m.Magnitude, m.Bias} {
		if t != nil {
			n += t.Elements()
		}
	}
	return n
}

// A Replacement is a tensor that takes the place of one of the base.
type Replacement struct {
	Name   string // name of the base tensor
	Reason string // "modules_to_save", "bias" or "embedding"
	Value  Tensor
}

// TokenRows are trained rows of an embedding that take the place of the rows
// Indices[i] of the base's (PEFT's trainable tokens).
type TokenRows struct {
	Path    string // path of the embedding module
	Indices []int
	Rows    Tensor // [len(Indices), d]
}

// Row returns the bytes of row i.
func (t TokenRows) Row(i int) []byte {
	width := len(t.Rows.Bytes) / max(1, len(t.Indices))
	return t.Rows.Bytes[i*width : (i+1)*width]
}

// An Adapter is a LoRA adapter in canonical form. Its tensors are views of the
// file it was read from and live as long as that file is open.
type Adapter struct {
	Source       string // path it was read from, for messages
	Dialect      string // "peft"
	Type         string // PEFT's peft_type, "LORA" for everything that can be merged
	Base         string // name of the base it was made for, as written, or ""
	Writer       string // version of the program that wrote it, or ""
	FanInFanOut  bool   // the config says that the base stores W transposed
	Init         string // initialisation that changed the base ("pissa", "olora"), or ""; such an adapter has a refusal
	Modules      []*Module
	Replacements []Replacement
	Tokens       []TokenRows

	// Notes are what the file says by the additions of the specification, nil
	// for an adapter that was not read from a file that can have them.
	Notes *note.Notes

	// Unused are tensors of the file that say nothing about the merged model,
	// each with the reason.
	Unused []Unused
	// Refusals say why the adapter can be read but not applied to a base.
	Refusals []*rule.Unsupported
	// Warnings are findings that do not stop the adapter from being used.
	Warnings []*rule.Error
	// Files are those that tensors are views of.
	Files []*safetensors.File
}

// Unchanged returns an error that wraps safetensors.ErrChanged if one of the
// files was written or replaced since it was opened. Who writes or reports what
// comes of an adapter asks before it is published: a file that was cut off
// within a page reads as zeros up to its end.
func (a *Adapter) Unchanged() error {
	for _, f := range a.Files {
		if err := f.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// Bound reports whether the adapter says what its base is.
func (a *Adapter) Bound() bool { return a.Notes != nil && len(a.Notes.Base) > 0 }

// Unused names a tensor that has no effect and says why.
type Unused struct {
	Tensor, Why string
	// CopyOf is the tensor of the base that Value is a copy of, "" for others.
	CopyOf string
	Value  Tensor
}

// Parameters counts the trained values of the adapter.
func (a *Adapter) Parameters() int {
	n := 0
	for _, m := range a.Modules {
		n += m.Parameters()
	}
	for _, r := range a.Replacements {
		n += r.Value.Elements()
	}
	for _, t := range a.Tokens {
		n += t.Rows.Elements()
	}
	return n
}

// Mergeable returns the first refusal, or nil.
func (a *Adapter) Mergeable() error {
	if len(a.Refusals) > 0 {
		return a.Refusals[0]
	}
	return nil
}
