// Package names finds the parameters that a model has in memory among the
// tensors of a checkpoint on disk. Since transformers 5 the two have other
// names in most families, and one parameter may be several tensors; which is
// data, dumped from transformers by interop/dump_names.py. The package reads
// names, shapes and config.json, never values.
package names

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
)

// A Model is what the map needs to know of a checkpoint.
type Model interface {
	// Shape returns the shape and dtype of a tensor.
	Shape(name string) (shape []int, dt dtype.DType, ok bool)
	// Names returns all tensor names, sorted.
	Names() []string
	// ModelType is config.json's model_type, "" if unknown.
	ModelType() string
	// Architectures is config.json's architectures.
	Architectures() []string
	// Setting is a string, number or boolean of config.json as text, by its
	// path through the objects.
	Setting(path ...string) (text string, ok bool)
}

// A Map renames the tensors of one checkpoint. It belongs to one goroutine.
type Map struct {
	model      Model
	renamings  []*transform
	converters []*transform
	families   []Family
	prefix     string // base_model_prefix of the model's class
	headed     bool   // the class has a model at prefix
	built      bool   // the layers of the class are known
	bare       map[string]bool
	embeddings map[string]bool
	retargeted []string
	primed     bool // the guards of grouped renamings are known
	index      map[string]entry
	groups     []*group
	refused    error // rules that apply and cannot be run
}

// Refused says which rule of a family that applies cannot be run, or nil.
func (m *Map) Refused() error { return m.refused }

// A Family is a key of the map that applies to the checkpoint, or to a part of
// it.
type Family struct {
	Key   string // such as "mixtral", or FileKey
	Scope string // path of the part of the model, "" for all of it
	Rules int
}

// Families lists the keys that apply, in the order in which they do.
func (m *Map) Families() []Family { return m.families }

// Prefix is the path of the model within the model with a head, such as
// "model", or "".
func (m *Map) Prefix() string { return m.prefix }

// Headed reports whether the class of the model is one with a head around the
// model at [Map.Prefix].
func (m *Map) Headed() bool { return m.headed }

// For makes the map of a checkpoint: the user's rules first, then those of its
// class or model type and of its parts, as transformers collects them
// (get_model_conversion_mapping).
func For(model Model, rules Rules) (*Map, error) {
	data, err := load()
	if err != nil {
		return nil, err
	}
	m := &Map{model: model}
	m.add(FileKey, "", rules.transforms)
	root, nodes := data.structure(model)
	m.prefix, m.headed, m.built = root.Prefix, root.Headed, data.built(nodes[0].class)
	m.bare = data.paths(nodes, func(c class) []string { return c.Bare })
	m.embeddings = data.paths(nodes, func(c class) []string { return c.Embeddings })
	m.retargeted = data.Retargeted[model.ModelType()]
	seen := map[string][]string{}
	claimed := func(id, path string) bool {
		return slices.ContainsFunc(seen[id], func(s string) bool { return s == "" || strings.HasPrefix(path, s+".") })
	}
	for _, n := range nodes {
		if claimed(n.class, n.path) {
			continue
		}
		key, specs := data.key(n.class)
		byClass := specs != nil
		if !byClass {
			if claimed(n.modelType, n.path) {
				continue
			}
			key, specs = data.key(n.modelType)
		}
		if specs == nil {
			continue
		}
		if err := m.addKey(key, n.path, specs); err != nil {
			return nil, err
		}
		seen[n.class] = append(seen[n.class], n.path)
		if !byClass {
			seen[n.modelType] = append(seen[n.modelType], n.path)
		}
	}
	_, legacy := data.key("legacy")
	return m, m.addKey("legacy", "", legacy)
}

func (m *Map) addKey(key, path string, specs []spec) error {
	ts := make([]*transform, len(specs))
	for i, s := range specs {
		t, err := s.compile(key)
		if err != nil {
			return fmt.Errorf("map %s: %w", key, err)
		}
		if path != "" {
			scope := strings.TrimPrefix(strings.TrimPrefix(path, m.prefix), ".")
			t.scoped, t.scope, t.base = true, dotted(scope), dotted(m.prefix)
		}
		ts[i] = t
	}
	m.add(key, path, ts)
	return nil
}

func dotted(path string) string {
	if path == "" {
		return ""
	}
	return path + "."
}

func (m *Map) add(key, path string, ts []*transform) {
	if len(ts) == 0 {
		return
	}
	m.families = append(m.families, Family{key, path, len(ts)})
	for _, t := range ts {
		if t.refused != "" && m.refused == nil {
			m.refused = t.unsupported(t.refused)
		}
		if len(t.ops) > 0 {
			m.converters = append(m.converters, t)
		} else {
			m.renamings = append(m.renamings, t)
		}
	}
}

// A Renamed is a name on disk and what it is in memory.
type Renamed struct {
	Name     string   // in memory; of a part of a parameter, the parameter's
	Families []string // keys whose rules changed it
	by       *transform
	source   int // pattern of by that matched
}

// Rename renames a tensor as transformers does on loading: all renamings in
// turn, then at most one converter.
func (m *Map) Rename(disk string) Renamed {
	m.prime()
	return m.rename(disk)
}

func (m *Map) rename(name string) Renamed {
	r := Renamed{Name: name}
	for _, t := range m.renamings {
		if next, source := t.rename(r.Name); source >= 0 {
			if next != r.Name {
				r.use(t.key)
			}
			r.Name = next
		}
	}
	for _, t := range m.converters {
		if next, source := t.rename(r.Name); source >= 0 {
			r.use(t.key)
			r.Name, r.by, r.source = next, t, source
			break
		}
	}
	return r
}

func (r *Renamed) use(key string) {
	if !slices.Contains(r.Families, key) {
		r.Families = append(r.Families, key)
	}
}

// prime lets grouped renamings see the names of the checkpoint: they apply only
// where it holds the name that is their guard.
func (m *Map) prime() {
	if m.primed {
		return
	}
	m.primed = true
	if !slices.ContainsFunc(m.renamings, func(t *transform) bool { return t.kind == kindGroup }) {
		return
	}
	all := slices.Clone(m.model.Names())
	slices.SortFunc(all, compareNatural)
	for _, name := range all {
		m.rename(name)
	}
}

// Describe joins family keys to one name.
func Describe(families []string) string { return strings.Join(families, "+") }

// unsupported is the error for an operation that is not an index map.
func (t *transform) unsupported(what string) error {
	return &rule.Unsupported{What: fmt.Sprintf("operation %s of the map %s", what, t.key), Hint: "merge this family with PEFT"}
}
