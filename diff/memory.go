package diff

import (
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
)

// A model is a checkpoint as the map of names sees it.
type model struct {
	*checkpoint.Checkpoint
	*checkpoint.Config
}

func newModel(c *checkpoint.Checkpoint) (model, error) {
	config, err := c.Config()
	if config == nil {
		config = &checkpoint.Config{}
	}
	return model{c, config}, err
}

// Shape implements names.Model.
func (m model) Shape(name string) ([]int, dtype.DType, bool) {
	_, t, ok := m.Lookup(name)
	return t.Shape, t.DType, ok
}

// A namer gives tensors on disk the names that the model in memory, and so
// PEFT, has for them.
type namer struct {
	names   *names.Map
	prefix  string            // what the checkpoint of a model without a head lacks
	memory  map[string]string // names in memory of what is matched by them
	unknown map[string]string // tensors of parameters that cannot be found, and why
}

func newNamer(m model, rules names.Rules) (*namer, error) {
	found, err := names.For(m, rules)
	if err != nil {
		return nil, err
	}
	n := &namer{names: found, memory: map[string]string{}, unknown: map[string]string{}}
	p := found.Prefix() + "."
	if bare := !slices.ContainsFunc(m.Names(), func(name string) bool { return strings.HasPrefix(found.Rename(name).Name, p) }); bare && found.Headed() {
		n.prefix = p
	}
	return n, nil
}

// byParameter reports whether a name in memory is the weight of a module that
// PEFT adapts as a parameter only.
func (n *namer) byParameter(name string) bool {
	path, isWeight := strings.CutSuffix(name, ".weight")
	return isWeight && n.names.ByParameter(path)
}

// embeds reports whether a name in memory is the weight of an embedding.
func (n *namer) embeds(name string) bool {
	path, isWeight := strings.CutSuffix(name, ".weight")
	if is, known := n.names.Embedding(path); known {
		return isWeight && is
	}
	return isWeight && embedsTokens(path)
}

// part reports whether a tensor is only a part of a parameter in memory, such
// as one expert of a stack, and returns the parameter's name.
func (n *namer) part(tensor string) (parameter string, part bool) {
	if name, ok := n.memory[tensor]; ok {
		return name, false
	}
	renamed := n.names.Rename(tensor).Name
	if renamed == tensor {
		return renamed, false
	}
	p, ok, err := n.names.Find(renamed)
	return renamed, err != nil || !ok || p.Tensor != tensor
}

// name returns the name of a tensor in memory. A part of a parameter keeps its
// name: adapters of models that do not stack have it, and it is found in the
// base.
func (n *namer) name(tensor string) string {
	renamed, part := n.part(tensor)
	if part {
		return tensor
	}
	if n.prefix == "" || adapter.IsHead(strings.TrimSuffix(renamed, ".weight")) {
		return renamed
	}
	return n.prefix + renamed
}
