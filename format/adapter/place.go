package adapter

import (
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/rule"
)

// A place is where a parameter of the model is stored.
type place struct {
	names.Parameter
	how string // "" if the base has the name as it stands
}

// whole reports whether the place is one tensor under whatever name.
func (p place) whole() bool { return p.Tensor != "" }

// exact is the place of a tensor of the base.
func (r *resolver) exact(name string) (place, bool) {
	shape, _, ok := r.base.Shape(name)
	return place{Parameter: names.Whole(name, shape)}, ok
}

// find lists the places that a name of the adapter can mean. The first way
// that leads anywhere counts:
//
//  1. a tensor of that name, unless the family calls it something else in
//     memory: then also what the family calls by that name,
//  2. the parameter of that name in memory, through the map of the base's
//     family,
//  3. for a name on disk of another version: what it is in memory, and that
//     where the base has it,
//  4. the name with a prefix more or less, that heads and wrappers add.
func (r *resolver) find(name string) ([]place, error) {
	m, err := r.names()
	if err != nil {
		return nil, err
	}
	if p, ok := r.exact(name); ok {
		found := []place{p}
		if m.Rename(name).Name != name {
			other, ok, err := m.Find(name)
			if err != nil {
				return nil, err
			}
			if ok && other.Tensor != name {
				found = append(found, mapped(other))
			}
		}
		return found, nil
	}
	for _, find := range []func(string) (names.Parameter, bool, error){m.Find, m.Inverse} {
		if p, ok, err := find(name); err != nil || ok {
			return []place{mapped(p)}, r.located(err)
		}
	}
	return r.prefixed(name, m)
}

func mapped(p names.Parameter) place {
	how := "the base's names"
	if len(p.Families) > 0 {
		how = "map " + names.Describe(p.Families)
	}
	return place{p, how}
}

// located adds the adapter's file to an error.
func (r *resolver) located(err error) error {
	if u, ok := err.(*rule.Unsupported); ok && u.File == "" {
		u.File = r.a.Source
	}
	return err
}

// prefixed looks a name up with a prefix more or less.
func (r *resolver) prefixed(name string, m *names.Map) (found []place, err error) {
	for _, c := range variants(name) {
		p, ok := r.exact(c.name)
		if !ok {
			var other names.Parameter
			if other, ok, err = m.Find(c.name); err != nil {
				return nil, r.located(err)
			}
			p = place{Parameter: other}
		}
		p.how = "prefix " + c.prefix
		if ok && !slices.ContainsFunc(found, func(f place) bool { return f.same(p) }) {
			found = append(found, p)
		}
	}
	return found, nil
}

// same reports whether two places hold the same elements of the base.
func (p place) same(q place) bool { return slices.Equal(p.Blocks, q.Blocks) }

// modelPrefixes are what a model with a head puts before the names of the
// model without one (base_model_prefix in transformers), and wrappers.
var modelPrefixes = []string{
	"model.", "language_model.", "base_model.", "transformer.", "module.", "backbone.", "encoder.", "decoder.",
	"bert.", "roberta.", "distilbert.", "electra.", "deberta.", "albert.", "xlm_roberta.", "camembert.", "mpnet.",
	"gpt_neox.", "vit.", "clip.", "blip.", "resnet.", "wav2vec2.", "hubert.", "whisper.", "esm.", "rwkv.",
}

type variant struct{ name, prefix string }

// variants lists the names that differ by one prefix: also by the level that a
// model of text and images puts around its model of text.
func variants(name string) (out []variant) {
	for _, p := range modelPrefixes {
		word := strings.TrimSuffix(p, ".")
		out = append(out, variant{p + name, word})
		if short, ok := strings.CutPrefix(name, p); ok {
			out = append(out, variant{short, word})
		}
	}
	const text = "language_model"
	if rest, ok := strings.CutPrefix(name, "model."); ok {
		if short, ok := strings.CutPrefix(rest, text+"."); ok {
			return append(out, variant{"model." + short, text})
		}
		return append(out, variant{"model." + text + "." + rest, text})
	}
	return out
}
