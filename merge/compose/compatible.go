package compose

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/lowrank"
)

// compatible refuses adapters whose composition has no defined result.
func (c *composition) compatible() error {
	for _, w := range c.adapters {
		if err := w.Mergeable(); err != nil {
			return err
		}
	}
	if err := c.bases(); err != nil {
		return err
	}
	var names []string
	for _, w := range c.adapters {
		names = append(names, partNames(w.Adapter)...)
		for _, m := range w.Modules {
			if c.skipped(m.Name()) {
				continue
			}
			if err := c.composable(w, m); err != nil {
				return err
			}
		}
	}
	for _, glob := range c.options.Skip {
		if err := lowrank.CheckGlob(glob, names); err != nil {
			return err
		}
	}
	for _, w := range c.options.Modules {
		if err := lowrank.CheckGlob(w.Glob, names); err != nil {
			return err
		}
	}
	return nil
}

// composable refuses what is not linear in the delta.
func (c *composition) composable(w Weighted, m *adapter.Module) error {
	if m.Magnitude != nil && (len(c.adapters) > 1 || w.Weight != 1 || len(c.options.Modules) > 0 || c.rule.kind != exactSum && c.rule.kind != sideBySide) {
		return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("DoRA module %q in a composition: a magnitude does not add up", m.Name()),
			Hint: "merge the adapter into its base and extract a plain LoRA from the difference (loratool merge, loratool extract), then compose that"}
	}
	if m.Bias != nil && c.rule.kind != exactSum && c.rule.kind != sideBySide {
		return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("lora_bias of module %q with method %s", m.Name(), c.options.Method),
			Hint: "use method sum, cat or svd"}
	}
	return nil
}

// bases refuses adapters that were made for different bases: by the digests of
// the weights that both are bound to, or else by the names that they give.
func (c *composition) bases() error {
	for i, w := range c.adapters {
		for _, v := range c.adapters[:i] {
			common, other := sharedWeights(v.Adapter, w.Adapter)
			if other != "" {
				return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("base with other values in %q than that of %s", other, rule.Printable(v.Source)),
					Hint: "merge each adapter into its own base; a difference of two checkpoints becomes an adapter by loratool extract"}
			}
			if common || c.options.AnyBase || v.Base == "" || w.Base == "" || sameBase(v.Base, w.Base) {
				continue
			}
			return fmt.Errorf("%s was made for base %q and %s for %q; if these are one base by two names, say --any-base",
				rule.Printable(v.Source), v.Base, rule.Printable(w.Source), w.Base)
		}
	}
	return nil
}

// sharedWeights reports whether two adapters are bound to a weight of one name,
// and the first whose values differ.
func sharedWeights(a, b *adapter.Adapter) (common bool, differs string) {
	if !a.Bound() || !b.Bound() {
		return false, ""
	}
	digests := map[string]note.Digest{}
	for _, w := range a.Notes.Base {
		digests[w.Name] = w.Digest
	}
	for _, w := range b.Notes.Base {
		if d, ok := digests[w.Name]; ok {
			if common = true; d != w.Digest {
				return common, w.Name
			}
		}
	}
	return common, ""
}

// binding returns the weights that any of the adapters is bound to, nil if
// there are none.
func (c *composition) binding() *note.Notes {
	var n note.Notes
	seen := map[string]bool{}
	for _, w := range c.adapters {
		if !w.Bound() {
			continue
		}
		for _, b := range w.Notes.Base {
			if !seen[b.Name] {
				seen[b.Name] = true
				n.Base = append(n.Base, b)
			}
		}
	}
	if len(n.Base) == 0 {
		return nil
	}
	return &n
}

// sameBase compares the names of bases by their last component: the same model
// is a repository here and a folder there.
func sameBase(a, b string) bool {
	last := func(s string) string {
		return strings.ToLower(path.Base(strings.TrimRight(strings.ReplaceAll(s, `\`, "/"), "/")))
	}
	return last(a) == last(b)
}

// partNames lists the names that a glob can mean.
func partNames(a *adapter.Adapter) (names []string) {
	for _, m := range a.Modules {
		names = append(names, m.Name())
	}
	for _, r := range a.Replacements {
		names = append(names, r.Name)
	}
	for _, t := range a.Tokens {
		names = append(names, t.Path)
	}
	return names
}

// assemble makes the adapter of the composed modules and what goes with them.
func (c *composition) assemble(made []*result) (*adapter.Adapter, error) {
	first := c.adapters[0]
	out := &adapter.Adapter{Source: joinSources(c.adapters), Dialect: first.Dialect, Type: "LORA", FanInFanOut: first.FanInFanOut, Notes: c.binding()}
	for _, w := range c.adapters {
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
	if len(out.Modules)+len(out.Replacements)+len(out.Tokens) == 0 {
		return nil, fmt.Errorf("nothing is left of %s: every delta is zero", out.Source)
	}
	if err := c.nest(out); err != nil {
		return nil, err
	}
	if err := evenBiases(out); err != nil {
		return nil, err
	}
	c.report.finish(c, out)
	c.report.Identity = c.identity(made)
	return out, nil
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
			if !bytes.Equal(o.Value.Bytes, r.Value.Bytes) {
				return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("replacement tensor %q, which another adapter has with other values", r.Value.Name),
					Hint: fmt.Sprintf("leave it out: --skip %q", r.Name)}
			}
			found = true
		}
		if !found {
			out.Replacements = append(out.Replacements, r)
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
			if !c.skipped(t.Path) {
				out.Tokens = append(out.Tokens, t)
			}
		}
	}
	return nil
}

// evenBiases gives every module a bias if one has it: PEFT's config has one
// switch for all. Embeddings and parameters cannot have one there.
func evenBiases(a *adapter.Adapter) error {
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
	}
	return nil
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
