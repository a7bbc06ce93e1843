package compose

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/mmap"
)

// assemble makes the adapter of the composed modules and what goes with them.
func (c *composition) assemble(made []*result) (*adapter.Adapter, error) {
	first := c.adapters[0]
	out := &adapter.Adapter{Source: joinSources(c.adapters), Dialect: first.Dialect, Type: "LORA", FanInFanOut: first.FanInFanOut}
	for _, w := range c.adapters {
		out.Files = append(out.Files, w.Files...)
		if out.Base == "" {
			out.Base = w.Base
		}
		if err := c.addReplacements(out, w); err != nil {
			return nil, err
		}
		if err := c.addTokens(out, w); err != nil {
			return nil, err
		}
	}
	for _, r := range made {
		c.report.add(r.report)
		if r.Module != nil {
			out.Modules = append(out.Modules, r.Module)
		}
	}
	if err := c.complete(out); err != nil {
		return nil, err
	}
	c.report.finish(c, out)
	c.report.Identity = c.identity(made)
	return out, nil
}

// complete refuses what readers of the result would refuse, and gives it what
// they ask for.
func (c *composition) complete(out *adapter.Adapter) error {
	if len(out.Modules)+len(out.Replacements)+len(out.Tokens) == 0 {
		return fmt.Errorf("nothing is left of %s: every delta is zero", out.Source)
	}
	if len(out.Modules) == 0 && slices.ContainsFunc(c.adapters, func(w Weighted) bool { return len(w.Modules) > 0 }) {
		return &rule.Unsupported{File: out.Source, What: "replacement tensors alone: PEFT loads no adapter without a module",
			Hint: "every delta is zero or left out; merge applies the replacements of an adapter as it is"}
	}
	for _, check := range []func(*adapter.Adapter) error{overlaps, c.nest, c.evenBiases} {
		if err := check(out); err != nil {
			return err
		}
	}
	out.Notes = c.binding(out)
	return nil
}

// overlaps refuses a weight that parts of several adapters set in two ways.
func overlaps(a *adapter.Adapter) error {
	set := map[string]string{} // what is done to a weight
	for _, m := range a.Modules {
		for _, name := range weightNames(m) {
			set[name] = "adapts"
		}
	}
	refused := func(name, by, skip string) error {
		return &rule.Unsupported{File: a.Source, What: fmt.Sprintf("weight %q that one part %s and another %s", name, set[name], by),
			Hint: fmt.Sprintf("leave one of them out, such as the latter: --skip %q", skip)}
	}
	for _, r := range a.Replacements {
		if set[r.Name] != "" {
			return refused(r.Name, "replaces", r.Name)
		}
		set[r.Name] = "replaces"
	}
	for _, t := range a.Tokens {
		if set[t.Path+".weight"] != "" {
			return refused(t.Path+".weight", "replaces rows of", t.Path)
		}
	}
	return nil
}

// weightNames are the weights that a module may adapt.
func weightNames(m *adapter.Module) (names []string) {
	for _, p := range m.Candidates {
		names = append(names, m.Path+"."+p)
	}
	if m.Param != "" {
		return append(names, m.Name())
	}
	return append(names, m.Path+".weight", m.Path+".in_proj_weight") // the latter of torch's attention
}

// identity reports whether nothing was done to one adapter.
func (c *composition) identity(made []*result) bool {
	if len(c.adapters) != 1 || len(c.options.Skip) > 0 {
		return false
	}
	for i, r := range made {
		if !r.report.Unchanged || c.groups[i].members[0].weight != 1 {
			return false
		}
	}
	return true
}

// addReplacements carries over full tensors, which cannot be weighted or added.
func (c *composition) addReplacements(out *adapter.Adapter, w Weighted) error {
	for _, r := range w.Replacements {
		if c.skipped(r.Name) {
			continue
		}
		if w.Weight != 1 {
			return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("weight %v for an adapter with the replacement tensor %q", w.Weight, r.Value.Name),
				Hint: fmt.Sprintf("use weight 1, or leave the tensor out: --skip %q", r.Name)}
		}
		found := false
		for _, o := range out.Replacements {
			if o.Name != r.Name {
				continue
			}
			if o.Value.DType != r.Value.DType || !slices.Equal(o.Value.Shape, r.Value.Shape) || !bytes.Equal(o.Value.Bytes, r.Value.Bytes) {
				return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("replacement tensor %q, which another adapter has with other values", r.Value.Name),
					Hint: fmt.Sprintf("leave it out: --skip %q", r.Name)}
			}
			found = true
		}
		if !found {
			out.Replacements = append(out.Replacements, r)
			if err := c.suspect(w, r.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// addTokens carries over trained rows of embeddings.
func (c *composition) addTokens(out *adapter.Adapter, w Weighted) error {
	for _, t := range w.Tokens {
		if c.skipped(t.Path) {
			continue
		}
		if w.Weight != 1 || len(out.Tokens) > 0 {
			return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("trained token rows of %q in a composition", t.Path),
				Hint: fmt.Sprintf("give them to one adapter of weight 1, and leave the others out: --skip %q", t.Path)}
		}
	}
	if w.Weight == 1 {
		for _, t := range w.Tokens {
			if c.skipped(t.Path) {
				continue
			}
			out.Tokens = append(out.Tokens, t)
			if err := c.suspect(w, t.Rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// suspect warns of a tensor that is carried over although it has values that
// are not finite, as merge does (AD017).
func (c *composition) suspect(w Weighted, t adapter.Tensor) error {
	if !t.DType.Float() {
		return nil
	}
	return mmap.Guard(func() {
		if first, count := t.DType.NotFinite(t.Bytes); count > 0 {
			e := rule.Error{File: w.Source, Tensor: t.Name, Rule: "AD017", Milder: rule.Warning,
				Err: fmt.Errorf("%d of %d values are NaN or infinite, the first at index %d", count, t.Elements(), first)}
			c.report.Warnings = append(c.report.Warnings, e.Error())
		}
	})
}

// evenBiases gives every module a bias if one has it: PEFT's config has one
// switch for all. Embeddings and parameters cannot have one there.
func (c *composition) evenBiases(a *adapter.Adapter) error {
	if !slices.ContainsFunc(a.Modules, func(m *adapter.Module) bool { return m.Bias != nil }) {
		return nil
	}
	for _, m := range a.Modules {
		if m.Bias != nil {
			continue
		}
		if m.Kind == adapter.Embedding || m.Param != "" || len(m.Candidates) > 0 {
			return &rule.Unsupported{File: a.Source, What: fmt.Sprintf("module %q beside modules with a lora_bias, which PEFT's config gives to all or none", m.Name()),
				Hint: fmt.Sprintf("leave it out: --skip %q, and merge both results", m.Name())}
		}
		n := m.B.Shape[0]
		t := adapter.NewTensor(m.B.DType, []int{n}, make([]float64, n))
		m.Bias = &t
		c.report.zeroBiases++
	}
	return nil
}

// binding returns the weights of the result that any of the adapters is bound
// to, nil if there are none.
func (c *composition) binding(out *adapter.Adapter) *note.Notes {
	open := map[string]bool{} // names that may still get an entry
	for _, m := range out.Modules {
		for _, name := range weightNames(m) {
			open[name] = true
		}
		open[m.Name()+".bias"] = m.Bias != nil
	}
	var n note.Notes
	for _, w := range c.adapters {
		if !w.Bound() {
			continue
		}
		for _, b := range w.Notes.Base {
			if open[b.Name] {
				open[b.Name] = false
				n.Base = append(n.Base, b)
			}
		}
	}
	if len(n.Base) == 0 {
		return nil
	}
	return &n
}

// fixedBytes estimates from above what an adapter file holds beside A and B.
func (c *composition) fixedBytes() (n int64) {
	const entry = 120 // of a tensor in the header, beside its name
	for _, g := range c.groups {
		m := g.members[0]
		n += 2 * int64(len(g.name)+entry)
		for _, t := range []*adapter.Tensor{m.Magnitude, m.Bias} {
			if t != nil {
				n += int64(len(t.Bytes)+len(t.Name)) + entry
			}
		}
	}
	for _, w := range c.adapters {
		for _, r := range w.Replacements {
			n += int64(len(r.Value.Bytes)+len(r.Name)) + entry
		}
		for _, t := range w.Tokens {
			n += int64(len(t.Rows.Bytes)+len(t.Path)) + entry
		}
	}
	return n
}
