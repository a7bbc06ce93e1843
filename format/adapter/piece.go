package adapter

import (
	"strconv"
	"strings"

	"github.com/loratool/loratool/format/adapter/names"
)

// A Base is what finding modules needs to know of a base checkpoint.
type Base interface {
	names.Model
	// TieWordEmbeddings is config.json's field, and whether it is there.
	TieWordEmbeddings() (tied, present bool)
}

// A Span is a run of Len indices that starts at First and goes on by Step.
type Span = names.Span

// All is the span of all n indices.
func All(n int) Span { return names.All(n) }

// A Piece says where a rectangle of a module's weight is stored: the rows Out
// and columns In of the weight [out, in] in memory are the rows Row and
// columns Col of a tensor of the base seen as a matrix, or of one of its
// experts; with Transposed, out runs along the columns. The spans of one side
// have the lengths of the other's.
//
// A matrix view of a tensor joins all dimensions after the first (after the
// second for one of several experts) into one.
type Piece struct {
	Tensor     string
	Expert     int // index into the tensor's first dimension, -1 for a tensor without experts
	Source     int // expert of the module's stack, 0 for a module without experts
	Out, In    Span
	Row, Col   Span
	Transposed bool
}

// An Update is one module together with the pieces of the base that hold its
// weight. An update without pieces does not exist: such a module is Missing.
type Update struct {
	Module  *Module
	Kind    Kind
	Experts int // 1 for a module without experts
	Rank    int // of one expert
	Pieces  []Piece
	How     string // "" if the base has the name as it stands, else what was done to it
}

// Missing names a part of an adapter for which the base has no tensor.
type Missing struct {
	Name   string // module path or tensor name
	Tensor string // the name that was looked for
	What   string // "module", "replacement", "bias" or "token rows"
}

// A Resolution says what each part of an adapter does to which tensor.
type Resolution struct {
	Updates      []Update
	Biases       []BiasUpdate
	Replacements []Replacement // Name is the tensor of the base
	Tokens       []TokenRows   // Path is the tensor of the base
	Missing      []Missing
	Maps         []MapUse // sorted; modules that were found as they stand are in none
}

// A MapUse counts the modules that were found under another name.
type MapUse struct {
	How     string `json:"how"` // such as "map mixtral" or "prefix model"
	Modules int    `json:"modules"`
}

// String says it in words, with the origin of the map.
func (m MapUse) String() string {
	by := "by the " + strings.TrimPrefix(m.How, "the ")
	if strings.HasPrefix(m.How, "map ") && m.How != "map "+names.FileKey {
		by += " (transformers " + names.Version() + ")"
	}
	if m.Modules == 1 {
		return "1 module " + by
	}
	return strconv.Itoa(m.Modules) + " modules " + by
}

// A BiasUpdate adds elements From of scaling·lora_B.bias to elements To of a
// bias of the base.
type BiasUpdate struct {
	Module   *Module
	Tensor   string
	From, To Span
}
