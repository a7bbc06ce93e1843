package adapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/rule"
)

// Resolve finds every part of a among the tensors of base. What it does not
// find is in Missing; a shape that does not fit, or a name that could mean two
// tensors, is an error. (AD027, AD028.)
func (a *Adapter) Resolve(base Base) (*Resolution, error) {
	r := &resolver{a: a, base: base, res: &Resolution{}}
	for _, m := range a.Modules {
		if err := r.module(m); err != nil {
			return nil, err
		}
	}
	for _, rep := range a.Replacements {
		if err := r.replacement(rep); err != nil {
			return nil, err
		}
	}
	for _, t := range a.Tokens {
		if err := r.tokens(t); err != nil {
			return nil, err
		}
	}
	return r.res, r.nested()
}

type resolver struct {
	a    *Adapter
	base Base
	res  *Resolution
	wait []*Module // modules with several candidates, resolved together by nested
}

// find looks a tensor up: under its own name, else under one that differs by
// one of the prefixes that heads and wrappers add. how says what was done.
func (r *resolver) find(name string) (found, how string, err error) {
	if _, _, ok := r.base.Shape(name); ok {
		return name, "", nil
	}
	for _, p := range modelPrefixes {
		candidates := []string{p + name}
		if short, ok := strings.CutPrefix(name, p); ok {
			candidates = append(candidates, short)
		}
		for _, c := range candidates {
			if _, _, ok := r.base.Shape(c); !ok {
				continue
			}
			if found != "" && found != c {
				return "", "", fault(r.a, "AD028", name, "the base has both %q and %q", found, c)
			}
			found, how = c, "prefix "+strings.TrimSuffix(p, ".")
		}
	}
	return found, how, nil
}

// modelPrefixes are what a model with a head puts before the names of the
// model without one (base_model_prefix in transformers), and wrappers.
var modelPrefixes = []string{
	"model.", "language_model.", "base_model.", "transformer.", "module.", "backbone.", "encoder.", "decoder.",
	"bert.", "roberta.", "distilbert.", "electra.", "deberta.", "albert.", "xlm_roberta.", "camembert.", "mpnet.",
	"gpt_neox.", "vit.", "clip.", "blip.", "resnet.", "wav2vec2.", "hubert.", "whisper.", "esm.", "rwkv.",
}

// weightNames are the tensors that a module's weight may be, in the order they
// are looked for.
func weightNames(m *Module) []string {
	if m.Param != "" {
		return []string{m.Path + "." + m.Param}
	}
	return []string{m.Path + ".weight", m.Path + ".in_proj_weight"}
}

func (r *resolver) module(m *Module) error {
	if len(m.Candidates) > 1 {
		r.wait = append(r.wait, m)
		return nil
	}
	for _, name := range weightNames(m) {
		found, how, err := r.find(name)
		if err != nil {
			return err
		}
		if found != "" {
			return r.update(m, found, how)
		}
	}
	r.res.Missing = append(r.res.Missing, Missing{Name: m.Name(), Tensor: weightNames(m)[0], What: "module"})
	return nil
}

// update fits the module's factors to the tensor.
func (r *resolver) update(m *Module, tensor, how string) error {
	u, err := r.fit(m, tensor)
	if err != nil {
		return err
	}
	u.How = how
	r.res.Updates = append(r.res.Updates, u)
	if m.Bias == nil {
		return nil
	}
	bias := strings.TrimSuffix(tensor, "weight") + "bias"
	shape, _, ok := r.base.Shape(bias)
	if !ok || !strings.HasSuffix(tensor, "weight") {
		r.res.Missing = append(r.res.Missing, Missing{Name: m.Bias.Name, Tensor: bias, What: "bias"})
		return nil
	}
	if !slices.Equal(shape, m.Bias.Shape) {
		return r.misfit(m.Bias.Name, bias, m.Bias.Shape, shape)
	}
	r.res.Biases = append(r.res.Biases, BiasUpdate{Module: m, Tensor: bias})
	return nil
}

func (r *resolver) misfit(part, tensor string, found, base []int) error {
	return &rule.Error{File: r.a.Source, Tensor: part, Rule: "AD027",
		Err:  fmt.Errorf("shape %v does not fit base tensor %q of shape %v", found, tensor, base),
		Hint: "this may be an adapter for another base"}
}

func (r *resolver) replacement(rep Replacement) error {
	found, _, err := r.find(rep.Name)
	if err != nil {
		return err
	}
	if found == "" {
		r.res.Missing = append(r.res.Missing, Missing{Name: rep.Value.Name, Tensor: rep.Name, What: "replacement"})
		return nil
	}
	shape, _, _ := r.base.Shape(found)
	if !slices.Equal(shape, rep.Value.Shape) && !resized(found, shape, rep.Value.Shape) {
		return r.misfit(rep.Value.Name, found, rep.Value.Shape, shape)
	}
	rep.Name = found
	r.res.Replacements = append(r.res.Replacements, rep)
	return nil
}

// resized reports whether a tensor is an input embedding or head whose
// vocabulary was changed for the training.
func resized(name string, base, found []int) bool {
	path := strings.TrimSuffix(name, ".weight")
	return len(base) == 2 && len(found) == 2 && base[1] == found[1] && (IsEmbedding(path) || IsHead(path))
}

func (r *resolver) tokens(t TokenRows) error {
	found, _, err := r.find(t.Path + ".weight")
	if err != nil {
		return err
	}
	if found == "" {
		r.res.Missing = append(r.res.Missing, Missing{Name: t.Rows.Name, Tensor: t.Path + ".weight", What: "token rows"})
		return nil
	}
	shape, _, _ := r.base.Shape(found)
	if len(shape) != 2 || shape[1] != t.Rows.Shape[1] {
		return r.misfit(t.Rows.Name, found, t.Rows.Shape, shape)
	}
	for _, i := range t.Indices {
		if i >= shape[0] {
			return fault(r.a, "AD027", t.Rows.Name, "row %d, but base tensor %q has %d rows", i, found, shape[0])
		}
	}
	t.Path = found
	r.res.Tokens = append(r.res.Tokens, t)
	return nil
}

func fault(a *Adapter, id rule.ID, tensor, format string, args ...any) error {
	return &rule.Error{File: a.Source, Tensor: tensor, Rule: id, Err: fmt.Errorf(format, args...)}
}
