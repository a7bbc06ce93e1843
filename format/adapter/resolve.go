package adapter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// Resolve finds every part of a among the tensors of base, under the name it
// has in the adapter or through the map of names of the base's family, which
// rules add to. What it does not find is in Missing; a shape that does not fit,
// or a name that could mean two tensors, is an error. (AD027, AD028.)
func (a *Adapter) Resolve(base Base, rules ...Rules) (*Resolution, error) {
	r := &resolver{a: a, base: base, rules: rules, res: &Resolution{}}
	if err := r.all(); err != nil {
		return nil, r.nearest(err)
	}
	return r.res, r.finish()
}

func (r *resolver) all() error {
	for _, m := range r.a.Modules {
		if err := r.module(m); err != nil {
			return err
		}
	}
	for _, rep := range r.a.Replacements {
		if err := r.replacement(rep); err != nil {
			return err
		}
	}
	for _, t := range r.a.Tokens {
		if err := r.tokens(t); err != nil {
			return err
		}
	}
	if err := r.nested(); err != nil {
		return err
	}
	return r.patched()
}

// nearest adds the nearest names to the hint of a shape that does not fit.
func (r *resolver) nearest(err error) error {
	if e, ok := err.(*rule.Error); ok && e.Hint == otherBase {
		if near := text.Nearest(r.misfitted, r.base.Names(), 3); len(near) > 1 {
			e.Hint += "; the nearest tensors are " + strings.Join(near, ", ")
		}
	}
	return err
}

// Rules are additions of the user to the map of names, read by
// names.ReadRules.
type Rules = names.Rules

type resolver struct {
	a         *Adapter
	base      Base
	rules     []Rules
	used      *names.Map // nil until asked for
	res       *Resolution
	parts     []patches // of replacements that the base stores in parts
	misfitted string    // what the last shape did not fit
	wait      []*Module // modules with several candidates, resolved together by nested
}

// names returns the map of the base's names.
func (r *resolver) names() (m *names.Map, err error) {
	if r.used != nil {
		return r.used, nil
	}
	rules := names.Join(r.rules...)
	v, ok := r.base.(View)
	if share := ok && v.shared != nil && rules.Empty(); !share {
		r.used, err = names.For(r.base, rules)
		return r.used, err
	}
	if v.shared.names == nil {
		v.shared.names, err = names.For(r.base, rules)
	}
	r.used = v.shared.names
	return r.used, err
}

// finish counts which map led to how many modules, and blames what is missing
// on rules that cannot be run, if there are any.
func (r *resolver) finish() error {
	counts := map[string]int{}
	for _, u := range r.res.Updates {
		if u.How != "" {
			counts[u.How]++
		}
	}
	for _, how := range slices.Sorted(maps.Keys(counts)) {
		r.res.Maps = append(r.res.Maps, MapUse{how, counts[how]})
	}
	if len(r.res.Missing) > 0 && r.used != nil {
		return r.located(r.used.Refused())
	}
	return nil
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
		places, err := r.find(name)
		if err != nil {
			return err
		}
		if len(places) > 0 {
			return r.update(m, name, places)
		}
	}
	r.res.Missing = append(r.res.Missing, Missing{Name: m.Name(), Tensor: weightNames(m)[0], What: "module"})
	return nil
}

// update fits the module's factors to the place that it is stored in.
func (r *resolver) update(m *Module, name string, places []place) error {
	u, err := r.choose(m, name, places)
	if err != nil {
		return err
	}
	r.res.Updates = append(r.res.Updates, u)
	if m.Bias == nil {
		return nil
	}
	stem, isWeight := strings.CutSuffix(name, "weight")
	bias, found, err := r.onePlace(stem + "bias")
	if err != nil {
		return err
	}
	if !found || !isWeight {
		if zero, err := m.Bias.Zero(); zero || err != nil {
			return err // PEFT's config gives all modules a bias or none: those without one have zeros
		}
		r.res.Missing = append(r.res.Missing, Missing{Name: m.Bias.Name, Tensor: stem + "bias", What: "bias"})
		return nil
	}
	if !slices.Equal(bias.Shape, m.Bias.Shape) {
		return r.misfit(m.Bias.Name, bias.Name, m.Bias.Shape, bias.Shape)
	}
	for _, b := range bias.Blocks {
		if shape, _, _ := r.base.Shape(b.Tensor); len(shape) != 1 || b.Transposed {
			return r.inParts(m.Bias.Name, bias)
		}
		r.res.Biases = append(r.res.Biases, BiasUpdate{m, b.Tensor, b.Col, b.DiskCol})
	}
	return nil
}

// choose takes the one place that the factors fit. Of several, those that they
// fit as they stand come before those that they fit transposed; two that are
// left are an error.
func (r *resolver) choose(m *Module, name string, places []place) (Update, error) {
	var fits, upright []Update
	var first error
	for _, p := range places {
		u, err := r.fit(m, p)
		if err != nil {
			first = cmp.Or(first, err)
			continue
		}
		u.How = p.how
		fits = append(fits, u)
		if !slices.ContainsFunc(u.Pieces, func(p Piece) bool { return p.Transposed }) {
			upright = append(upright, u)
		}
	}
	if len(upright) == 1 {
		fits = upright
	}
	switch len(fits) {
	case 0:
		return Update{}, first
	case 1:
		return fits[0], nil
	}
	return Update{}, r.ambiguous(name, fits[0].Pieces[0].Tensor, fits[1].Pieces[0].Tensor)
}

func (r *resolver) ambiguous(name, one, other string) error {
	err := &rule.Error{File: r.a.Source, Tensor: name, Rule: "AD028", Err: fmt.Errorf("the base has both %q and %q", one, other)}
	err.Hint = "a rule in a file for --names says which is meant"
	return err
}

// onePlace finds a name that means one parameter only.
func (r *resolver) onePlace(name string) (p place, found bool, err error) {
	places, err := r.find(name)
	if err != nil || len(places) == 0 {
		return p, false, err
	}
	if len(places) > 1 {
		return p, false, r.ambiguous(name, places[0].Blocks[0].Tensor, places[1].Blocks[0].Tensor)
	}
	return places[0], true, nil
}

func (r *resolver) inParts(part string, p place) error {
	return &rule.Unsupported{File: r.a.Source, Hint: "merge it with PEFT",
		What: fmt.Sprintf("tensor %q for a parameter that the base stores in parts (%s)", part, p.how)}
}

// otherBase is the hint for a shape that does not fit.
const otherBase = "this may be an adapter for another base"

func (r *resolver) misfit(part, tensor string, found, base []int) error {
	r.misfitted = tensor
	return &rule.Error{File: r.a.Source, Tensor: part, Rule: "AD027",
		Err:  fmt.Errorf("shape %v does not fit base tensor %q of shape %v", found, tensor, base),
		Hint: otherBase}
}

func (r *resolver) replacement(rep Replacement) error {
	p, ok, err := r.onePlace(rep.Name)
	if err != nil {
		return err
	}
	if !ok {
		r.res.Missing = append(r.res.Missing, Missing{Name: rep.Value.Name, Tensor: rep.Name, What: "replacement"})
		return nil
	}
	found, shape := p.Tensor, p.Shape
	if !slices.Equal(shape, rep.Value.Shape) && !(p.whole() && r.resized(found, shape, rep.Value.Shape)) {
		return r.misfit(rep.Value.Name, p.Name, rep.Value.Shape, shape)
	}
	if !p.whole() {
		r.patch(rep, p)
		return nil
	}
	rep.Name = found
	r.res.Replacements = append(r.res.Replacements, rep)
	return nil
}

// resized reports whether a tensor is an input embedding or head whose
// vocabulary was changed for the training.
func (r *resolver) resized(name string, base, found []int) bool {
	if len(base) != 2 || len(found) != 2 || base[1] != found[1] {
		return false
	}
	path := strings.TrimSuffix(name, ".weight")
	return IsEmbedding(path) || IsHead(path) || OfVocabulary(r.base, name)
}

func (r *resolver) tokens(t TokenRows) error {
	p, ok, err := r.onePlace(t.Path + ".weight")
	if err != nil {
		return err
	}
	found := p.Tensor
	if ok && !p.whole() {
		return r.inParts(t.Rows.Name, p)
	}
	if !ok {
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
