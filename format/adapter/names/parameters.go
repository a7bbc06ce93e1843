package names

import (
	"iter"
	"slices"
	"strings"
)

// Parameters lists the parameters that the model has in memory, in the natural
// order of their names. With a parameter whose operations cannot be run comes
// the error that says so, and the names of its tensors as those of blocks
// without elements.
func (m *Map) Parameters() iter.Seq2[Parameter, error] {
	m.build()
	all := make([]string, 0, len(m.index))
	for name := range m.index {
		all = append(all, name)
	}
	slices.SortFunc(all, compareNatural)
	return func(yield func(Parameter, error) bool) {
		for _, name := range all {
			e := m.index[name]
			p, err := m.parameter(name, e)
			if err != nil {
				p.Blocks = e.group.empty()
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// empty lists the tensors of a group as blocks without elements.
func (g *group) empty() (blocks []Block) {
	for _, list := range g.sources {
		for _, name := range list {
			blocks = append(blocks, Block{Tensor: name})
		}
	}
	return blocks
}

// ByParameter reports whether PEFT adapts the weight of the module at a path in
// memory as a parameter only: because the module is none of its layers, such as
// the router of a mixture of experts, or because in this family it takes the
// last name in target_modules for that of the experts, which are one parameter
// now (_MOE_TARGET_MODULE_MAPPING in peft/utils/transformers_weight_conversion.py).
func (m *Map) ByParameter(path string) bool {
	return m.bare[numberless(path)] || slices.Contains(m.retargeted, path[strings.LastIndexByte(path, '.')+1:])
}

// Embedding reports whether the module at a path in memory is an embedding.
func (m *Map) Embedding(path string) (is, known bool) {
	return m.embeddings[numberless(path)], m.built
}

// Tied returns the parameters that share the values of others in a model of
// this class if its config ties them, and these others.
func Tied(architectures []string) map[string]string { return classOf(architectures).Tied }

// Embeds reports whether the module at a path in memory is an embedding of a
// model of this class.
func Embeds(architectures []string, path string) bool {
	return slices.Contains(classOf(architectures).Embeddings, numberless(path))
}

// classOf returns the first class that is known.
func classOf(architectures []string) (c class) {
	t, err := load()
	if err != nil {
		return c
	}
	for _, a := range architectures {
		if c, ok := t.Classes[a]; ok {
			return c
		}
	}
	return c
}

// built reports whether the modules of a class are known.
func (t *table) built(class string) bool {
	_, ok := t.Classes[class]
	_, failed := t.NotBuilt[class]
	return ok && !failed
}

// paths collects paths of modules of the models that a checkpoint is made of.
func (t *table) paths(nodes []node, of func(class) []string) map[string]bool {
	found := map[string]bool{}
	for i, n := range nodes {
		name := n.class
		if i == 0 && name == "" {
			name = t.Auto["causal"][n.modelType]
		}
		for _, path := range of(t.Classes[name]) {
			found[numberless(dotted(n.path)+path)] = true
		}
	}
	return found
}
