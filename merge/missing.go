package merge

import (
	"fmt"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// missing deals with the parts of an adapter for which the base has no tensor:
// a head that is tied to the embedding becomes a tensor of its own, new
// replacement tensors are added if allowed, and everything else is an error
// that names the nearest tensors (AD028). It returns the number of modules
// that found a head.
func (ts *targets) missing(w *Weighted, missing []adapter.Missing) (heads int, err error) {
	var first *adapter.Missing
	more := 0
	for i, m := range missing {
		added := false
		if m.What == "replacement" {
			if added, err = ts.addNew(w, m); err != nil {
				return heads, err
			}
		}
		switch {
		case added:
		case m.What == "module" && ts.addTied(w, m):
			heads++
		case first == nil:
			first = &missing[i]
		default:
			more++
		}
	}
	if first == nil {
		return heads, nil
	}
	return heads, ts.notFound(w, *first, more)
}

// addTied applies a module for a head, or another parameter that the base does
// not store, to a copy of the tensor it is tied to.
func (ts *targets) addTied(w *Weighted, m adapter.Missing) bool {
	alias, ok := ts.alias(m.Tensor)
	if !ok {
		return false
	}
	for _, module := range w.Modules {
		if module.Name() != m.Name {
			continue
		}
		u, err := module.Fit(w.Adapter, ts.base, alias.Of)
		if err != nil || module.Bias != nil {
			return false
		}
		if w.zero(module) {
			return true
		}
		t := ts.at(alias.Name)
		t.source = alias.Of
		for _, p := range u.Pieces {
			p.Tensor = alias.Name
			t.updates = append(t.updates, weightedPiece{w, u, p})
		}
		return true
	}
	return false
}

// addNew adds a replacement tensor that the base lacks: a head that was tied,
// or with AddMissing any tensor.
func (ts *targets) addNew(w *Weighted, m adapter.Missing) (added bool, err error) {
	if _, tied := ts.alias(m.Tensor); !tied && !ts.options.AddMissing {
		return false, nil
	}
	for _, r := range w.Replacements {
		if r.Name == m.Tensor {
			err := ts.addReplacement(w, r)
			ts.at(r.Name).source = ""
			return err == nil, err
		}
	}
	return false, nil
}

// notFound is the error for one part, with the three nearest names, and how
// many more there are.
func (ts *targets) notFound(w *Weighted, m adapter.Missing, more int) error {
	nearest := text.Nearest(m.Tensor, ts.base.Names(), 3)
	hint := "this may be an adapter for another base; the nearest tensors are " + strings.Join(nearest, ", ")
	if len(nearest) == 0 {
		hint = "this may be an adapter for another base"
	}
	if m.What == "replacement" {
		hint += "; --add-missing adds it to the output"
	}
	hint += "; --skip leaves it out"
	err := &rule.Error{File: w.Source, Tensor: m.Name, Rule: "AD028", Hint: hint, Err: fmt.Errorf("%s has no tensor %q in the base", m.What, m.Tensor)}
	if more > 0 {
		err.Err = fmt.Errorf("%w (and %d more like it)", err.Err, more)
	}
	return err
}
