package validate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
)

// base holds an adapter against Options.Base: AD027, AD028, AD029, LT007,
// LT012.
func (c *collector) base(ctx context.Context, f *dialect.File) error {
	c.covered(f.Adapter)
	c.magnitudes(f.Adapter)
	if c.o.Base == nil || c.fatal {
		return nil
	}
	view, err := adapter.NewView(c.o.Base)
	if err != nil {
		return err
	}
	_, err = f.Adapter.Resolve(view, c.o.Names)
	all := []*adapter.Adapter{f.Adapter}
	if _, broken := errors.AsType[*rule.Error](err); broken {
		all = parts(f.Adapter)
	}
	for _, part := range all {
		res, err := part.Resolve(view, c.o.Names)
		if e, ok := errors.AsType[*rule.Error](err); ok {
			c.add(e)
			continue
		}
		if err != nil {
			return err
		}
		c.integers(f.Adapter, res, view)
		for _, m := range res.Missing {
			c.missing(f.Adapter, m, view)
		}
	}
	c.tied(f.Adapter, view)
	if c.fatal { // what does not fit needs no digest to be wrong
		return nil
	}
	bound := binding.Options{Progress: c.o.Progress, Names: c.o.Names}
	if c.o.Deep {
		err = binding.Check(ctx, f.Adapter, c.o.Base, bound)
	} else {
		err = binding.CheckShapes(f.Adapter, c.o.Base, bound)
	}
	return err
}

// magnitudes holds the DoRA magnitudes against the outputs of their modules.
func (c *collector) magnitudes(a *adapter.Adapter) {
	for _, m := range a.Modules {
		if v := m.Magnitude; v != nil && v.Elements() != m.B.Shape[0] {
			c.add(&rule.Error{File: a.Source, Tensor: v.Name, Rule: "AD027", Err: fmt.Errorf("%d magnitudes for %d outputs", v.Elements(), m.B.Shape[0])})
		}
	}
}

// integers reports the first weight of the base that holds codes, not values.
func (c *collector) integers(a *adapter.Adapter, res *adapter.Resolution, view adapter.View) {
	for _, u := range res.Updates {
		for _, p := range u.Pieces {
			if _, dt, _ := view.Shape(p.Tensor); !dt.Float() {
				c.refusal(&rule.Unsupported{File: a.Source, What: fmt.Sprintf("base tensor %q of dtype %v", p.Tensor, dt), Hint: "use the base in 16 bits"})
				return
			}
		}
	}
}

// parts splits an adapter so that what breaks a rule in one part does not hide
// the others: modules of one path belong together.
func parts(a *adapter.Adapter) []*adapter.Adapter {
	var all []*adapter.Adapter
	at := map[string]*adapter.Adapter{}
	empty := func() *adapter.Adapter {
		one := *a
		one.Modules, one.Replacements, one.Tokens = nil, nil, nil
		all = append(all, &one)
		return &one
	}
	for _, m := range a.Modules {
		if at[m.Path] == nil {
			at[m.Path] = empty()
		}
		at[m.Path].Modules = append(at[m.Path].Modules, m)
	}
	for _, r := range a.Replacements {
		empty().Replacements = []adapter.Replacement{r}
	}
	for _, t := range a.Tokens {
		empty().Tokens = []adapter.TokenRows{t}
	}
	return all
}

func (c *collector) missing(a *adapter.Adapter, m adapter.Missing, view adapter.View) {
	if tied, _ := view.TieWordEmbeddings(); tied && adapter.IsHead(strings.TrimSuffix(m.Tensor, ".weight")) {
		return // the base stores it as its embedding: AD029
	}
	if slices.ContainsFunc(adapter.Aliases(view), func(x adapter.Alias) bool { return x.Name == m.Tensor }) {
		return // it is tied to a tensor of the base
	}
	e := &rule.Error{File: a.Source, Tensor: m.Name, Rule: "AD028", Err: fmt.Errorf("the base has no tensor %q for this %s", m.Tensor, m.What)}
	if m.What == "replacement" { // a head that the task added: the merge asks what to do
		e.Milder = rule.Warning
	}
	if m.What == "bias" { // PEFT applies it, but there is nothing to merge it into
		e.Milder = rule.Unhandled
	}
	c.add(e)
}

// tied warns of a delta on one of two weights that the base stores once.
func (c *collector) tied(a *adapter.Adapter, view adapter.View) {
	if tied, _ := view.TieWordEmbeddings(); !tied {
		return
	}
	embedding, head := "", "" // a tensor of the adapter for each
	note := func(path, tensor string) {
		switch {
		case adapter.IsEmbedding(path):
			embedding = tensor
		case adapter.IsHead(path):
			head = tensor
		}
	}
	for _, m := range a.Modules {
		note(m.Path, m.A.Name)
	}
	for _, r := range a.Replacements {
		note(strings.TrimSuffix(r.Name, ".weight"), r.Value.Name)
	}
	if (embedding == "") != (head == "") {
		c.add(&rule.Error{File: a.Source, Tensor: embedding + head, Rule: "AD029", Err: errors.New("the base ties its embedding and its head, and only one of them is adapted or replaced")})
	}
}

// covered holds the names of a binding against the modules: LT012.
func (c *collector) covered(a *adapter.Adapter) {
	if !a.Bound() {
		return
	}
	bound := map[string]bool{}
	for _, w := range a.Notes.Base {
		bound[w.Name] = true
	}
	lost, extra := 0, len(bound)
	example := ""
	for _, m := range a.Modules {
		for _, name := range boundNames(m) {
			if bound[name] {
				extra--
			} else if name != zeroBias(m) {
				if lost++; lost == 1 {
					example = name
				}
			}
		}
	}
	if lost > 0 {
		c.add(&rule.Error{File: a.Source, Tensor: example, Rule: "LT012", Err: fmt.Errorf("this weight and %d more have no digest", lost-1)})
	}
	if extra > 0 {
		c.add(&rule.Error{File: a.Source, Rule: "LT012", Err: fmt.Errorf("digests of %d weights that no module adapts", extra)})
	}
}

// boundNames are the entries that a binding has for a module. Which of several
// parameters nested factors belong to, only a base can say: all of them count.
func boundNames(m *adapter.Module) []string {
	names := []string{binding.NameOf(m)}
	if m.Bias != nil {
		names = append(names, biasName(m))
	}
	return names
}

func biasName(m *adapter.Module) string { return m.Name() + ".bias" }

// zeroBias is the entry that a binding need not have: that of a bias of zeros,
// which a layer without a bias takes.
func zeroBias(m *adapter.Module) string {
	if m.Bias == nil {
		return ""
	}
	if zero, err := m.Bias.Zero(); !zero || err != nil { // who reads the values complains
		return ""
	}
	return biasName(m)
}
