package names

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// transformersJSON is written by interop/dump_names.py; README.md says from
// what.
//
//go:embed transformers.json
var transformersJSON []byte

// A table is the dumped map.
type table struct {
	Version    string
	Keys       map[string][]spec
	Aliases    map[string]string
	Auto       map[string]map[string]string // kind of AutoModel → model type → class
	Transposed []string                     // model types whose expert stacks are [experts, in, out]
	Retargeted map[string][]string          // model type → last names that PEFT takes for those of experts
	Classes    map[string]class
	NotBuilt   map[string]string `json:"not_built"` // classes of which only Type and Prefix are known
}

// A spec is one rule as dumped.
type spec struct {
	Kind        string
	From, To    []string
	Match       []matchSpec
	Ops         []Op
	Offset      int
	Unsupported string
}

type matchSpec struct {
	Source   int
	RE       string
	Captures []int
	Checks   []struct {
		Group     int
		NotBefore string `json:"not_before"`
		NotAfter  string `json:"not_after"`
	}
	Needle string
}

// A class is a model class of transformers and the models within it.
type class struct {
	Type, Prefix string
	Parts        []part
	Headed       bool              // the model within is at Prefix
	Tied         map[string]string // parameter → the one whose values it has where the config ties them
	Bare         []string          // paths of modules whose weights are no layers, with * for numbers
	Embeddings   []string          // paths of embeddings, with * for numbers
}

type part struct {
	Path, Class, Type string
	Config            []string // where its config is within the model's
	Auto              string   // kind of AutoModel that chooses its class by the config, or ""
}

var load = sync.OnceValues(func() (*table, error) {
	t := new(table)
	if err := json.Unmarshal(transformersJSON, t); err != nil {
		return nil, fmt.Errorf("embedded map of names: %w", err)
	}
	return t, nil
})

// key returns the rules of a class or model type, nil if it has none, and the
// key that holds them.
func (t *table) key(name string) (key string, rules []spec) {
	if rules, ok := t.Keys[name]; ok {
		return name, rules
	}
	if alias, ok := t.Aliases[name]; ok {
		return alias, t.Keys[alias]
	}
	return name, nil
}

// Version is the version of transformers that the map is from.
func Version() string {
	t, err := load()
	if err != nil {
		return "unknown"
	}
	return t.Version
}

// TransposedExperts reports whether the expert stacks of a model type are
// [experts, in, out] in memory.
func TransposedExperts(modelType string) bool {
	t, err := load()
	if err != nil {
		return false
	}
	return slices.Contains(t.Transposed, modelType)
}

// A node is a model within a model.
type node struct{ path, class, modelType string }

// structure lists the models that the checkpoint's model is made of, outermost
// first, in the order in which torch would.
func (t *table) structure(m Model) (root class, nodes []node) {
	name := ""
	for _, a := range m.Architectures() {
		if _, ok := t.Classes[a]; ok {
			name = a
			break
		}
	}
	modelType := m.ModelType()
	if name == "" {
		return class{}, []node{{"", first(m.Architectures()), modelType}}
	}
	root = t.Classes[name]
	if modelType == "" {
		modelType = root.Type
	}
	nodes = append([]node{{"", name, modelType}}, t.parts(m, root, "", nil)...)
	return root, nodes
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// parts lists the models within a class whose config is at config; where the
// config chooses the class of a part, it is asked.
func (t *table) parts(m Model, c class, path string, config []string) (nodes []node) {
	replaced := "\x00"
	for _, p := range c.Parts {
		if strings.HasPrefix(p.Path, replaced+".") {
			continue
		}
		n := node{dotted(path) + p.Path, p.Class, p.Type}
		at := append(append([]string{}, config...), p.Config...)
		modelType, ok := m.Setting(append(at, "model_type")...)
		if len(p.Config) > 0 && ok {
			n.modelType = modelType
		}
		if p.Auto == "" || !ok {
			nodes = append(nodes, n)
			continue
		}
		replaced = p.Path
		n.class = t.Auto[p.Auto][modelType]
		nodes = append(nodes, n)
		nodes = append(nodes, t.parts(m, t.Classes[n.class], n.path, at)...)
	}
	return nodes
}
