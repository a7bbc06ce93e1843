package compose

import (
	"fmt"
	"path"
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
