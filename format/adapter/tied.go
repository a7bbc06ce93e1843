package adapter

import (
	"maps"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter/names"
)

// A Tied is an input embedding and the head that shares its values.
type Tied struct {
	Embedding string
	Head      string
	Stored    bool // the base stores the head as well
}

// FindTied finds a tied pair: from tie_word_embeddings, the architecture and
// which tensors there are.
func FindTied(base Base) (Tied, bool) {
	tied, present := base.TieWordEmbeddings()
	if present && !tied {
		return Tied{}, false
	}
	var p Tied
	head := HeadOf(base.Architectures())
	for _, name := range base.Names() {
		path, isWeight := strings.CutSuffix(name, ".weight")
		shape, _, _ := base.Shape(name)
		if !isWeight || len(shape) != 2 {
			continue
		}
		if IsEmbedding(path) && (p.Embedding == "" || len(name) < len(p.Embedding)) {
			p.Embedding = name
		}
		if IsHead(path) || name == head {
			p.Head, p.Stored = name, true
		}
	}
	if of := names.Tied(base.Architectures())[head]; of != "" {
		if _, _, ok := base.Shape(of); ok {
			p.Embedding = of // whatever its name is
		}
	}
	if p.Embedding == "" || p.Stored && !present {
		return p, false
	}
	if p.Head == "" {
		p.Head = head
	}
	return p, p.Head != ""
}

// OfVocabulary reports whether a tensor is the input embedding that the class
// of the model is known to tie.
func OfVocabulary(base Base, name string) bool {
	architectures := base.Architectures()
	return names.Tied(architectures)[HeadOf(architectures)] == name
}

// An Alias is a parameter of the model that shares the values of a tensor of
// the base.
type Alias struct {
	Name   string // of the parameter
	Of     string // the tensor
	Stored bool   // the base stores the parameter as well
}

// alwaysTied are the model types that tie what is not stored whatever their
// config says.
var alwaysTied = map[string]bool{"t5": true, "mt5": true, "umt5": true, "longt5": true, "udop": true, "pop2piano": true}

// Aliases lists what the model ties, in the order of the names: the head, and
// what else the class of the model is known to tie, such as the embeddings of
// encoder and decoder and the bias of a head.
func Aliases(base Base) (list []Alias) {
	tied, present := base.TieWordEmbeddings()
	if present && !tied && !alwaysTied[base.ModelType()] {
		return nil
	}
	pairs := map[string]string{}
	maps.Copy(pairs, names.Tied(base.Architectures()))
	if p, ok := FindTied(base); ok {
		pairs[p.Head] = p.Embedding
	}
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		of := pairs[name]
		shape, _, stored := base.Shape(name)
		source, _, ok := base.Shape(of)
		if !ok || stored && (!present || !tied || !slices.Equal(shape, source)) {
			continue
		}
		list = append(list, Alias{name, of, stored})
	}
	return list
}

// WithTied lays modules of parameters that the base does not store because they
// are tied, such as a head, over the tensors it stores for them, as a merge
// does. It returns all updates and what is still missing.
func (res *Resolution) WithTied(a *Adapter, base Base) (updates []Update, missing []Missing, err error) {
	updates = res.Updates
	var aliases []Alias
	if len(res.Missing) > 0 {
		aliases = Aliases(base)
	}
	for _, m := range res.Missing {
		tied := slices.IndexFunc(aliases, func(x Alias) bool { return x.Name == m.Tensor && !x.Stored })
		i := slices.IndexFunc(a.Modules, func(x *Module) bool { return x.Name() == m.Name })
		if tied < 0 || i < 0 || m.What != "module" {
			missing = append(missing, m)
			continue
		}
		u, err := a.Modules[i].Fit(a, base, aliases[tied].Of)
		if err != nil {
			return nil, nil, err
		}
		updates = append(updates, u)
	}
	return updates, missing, nil
}
