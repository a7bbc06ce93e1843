package merge

import (
	"fmt"
	"slices"
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
		switch {
		case m.What == "module" && ts.addTiedHead(w, m):
			heads++
		case m.What == "replacement" && ts.addNew(w, m):
		case m.What == "bias" && w.zeroBias(m.Name):
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

// addTiedHead applies a module for a head that the base does not store to a
// copy of the embedding it is tied to.
func (ts *targets) addTiedHead(w *Weighted, m adapter.Missing) bool {
	pair, ok := ts.pair()
	if !ok || pair.Stored || m.Tensor != pair.Head {
		return false
	}
	for _, module := range w.Modules {
		if module.Name() != m.Name {
			continue
		}
		u, err := module.Fit(w.Adapter, ts.base, pair.Embedding)
		if err != nil {
			return false
		}
		if w.zero(module) {
			return true
		}
		t := ts.at(pair.Head)
		t.source = pair.Embedding
		for _, p := range u.Pieces {
			p.Tensor = pair.Head
			t.updates = append(t.updates, weightedPiece{w, u, p})
		}
		return true
	}
	return false
}

// zeroBias reports whether the bias of a module, by its tensor's name, is zero:
// it changes nothing, and the base need not have one. PEFT gives a bias to all
// modules or none.
func (w *Weighted) zeroBias(name string) bool {
	for _, m := range w.Modules {
		if m.Bias != nil && m.Bias.Name == name {
			return !slices.ContainsFunc(m.Bias.Float64s(), func(x float64) bool { return x != 0 })
		}
	}
	return false
}

// addNew adds a replacement tensor that the base lacks: a head that was tied,
// or with AddMissing any tensor.
func (ts *targets) addNew(w *Weighted, m adapter.Missing) bool {
	pair, tied := ts.pair()
	isHead := tied && !pair.Stored && m.Tensor == pair.Head
	if !isHead && !ts.options.AddMissing {
		return false
	}
	for _, r := range w.Replacements {
		if r.Name == m.Tensor && w.Weight == 1 {
			t := ts.at(r.Name)
			t.source, t.replace = "", &replacement{w, r}
			return true
		}
	}
	return false
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
