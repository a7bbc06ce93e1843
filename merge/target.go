package merge

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// A target collects what all adapters do to one tensor of the output.
type target struct {
	name    string // tensor of the output
	source  string // tensor of the base that it starts from, "" for a new value
	updates []weightedPiece
	biases  []weightedBias
	replace *replacement
	rows    []replacedRows
}

type weightedPiece struct {
	by     *Weighted
	update adapter.Update
	piece  adapter.Piece
}

// meets reports whether two pieces of one tensor have an output in common, or
// outputs along different dimensions.
func (p weightedPiece) meets(q weightedPiece) bool {
	a, b := p.piece.Row, q.piece.Row
	if p.piece.Transposed {
		a, b = p.piece.Col, q.piece.Col
	}
	if p.piece.Transposed != q.piece.Transposed || p.piece.Expert != q.piece.Expert {
		return true
	}
	for i := range a.Len {
		if index(b, a.First+i*a.Step) >= 0 {
			return true
		}
	}
	return false
}

type weightedBias struct {
	by       *Weighted
	module   *adapter.Module
	from, to adapter.Span // of the module's bias and of the tensor
}

type replacement struct {
	by *Weighted
	adapter.Replacement
}

type replacedRows struct {
	by *Weighted
	adapter.TokenRows
}

// targets gathers the targets of all adapters.
type targets struct {
	base    adapter.View
	options Options
	byName  map[string]*target
	names   []string // in the order of first use
	summary []AdapterReport
	notes   []string
	untie   bool
	tied    []adapter.Alias // nil until asked for
	used    map[string]bool // patterns of Options.Skip that matched
}

// note adds a remark to the report, once.
func (ts *targets) note(text string) {
	if !slices.Contains(ts.notes, text) {
		ts.notes = append(ts.notes, text)
	}
}

func (ts *targets) at(name string) *target {
	t := ts.byName[name]
	if t == nil {
		t = &target{name: name, source: name}
		ts.byName[name] = t
		ts.names = append(ts.names, name)
	}
	return t
}

func gatherTargets(view adapter.View, adapters []Weighted, o Options) (*targets, error) {
	ts := &targets{base: view, options: o, byName: map[string]*target{}, used: map[string]bool{}}
	for i := range adapters {
		if err := ts.addAdapter(&adapters[i]); err != nil {
			return nil, err
		}
	}
	if err := ts.checkSkips(adapters); err != nil {
		return nil, err
	}
	if err := ts.tie(); err != nil {
		return nil, err
	}
	return ts, ts.check()
}

// addAdapter resolves one adapter against the base and adds what it does.
func (ts *targets) addAdapter(w *Weighted) error {
	if err := w.Mergeable(); err != nil {
		return err
	}
	report := AdapterReport{Path: w.Source, Weight: w.Weight, Modules: len(w.Modules)}
	kept, skipped, err := ts.skip(w.Adapter)
	if err != nil {
		return err
	}
	res, err := kept.Resolve(ts.base, ts.options.Names)
	if err != nil {
		return err
	}
	for _, u := range res.Updates {
		ts.addUpdate(w, u)
	}
	for _, b := range res.Biases {
		if !w.zero(b.Module) {
			t := ts.at(b.Tensor)
			t.biases = append(t.biases, weightedBias{w, b.Module, b.From, b.To})
		}
	}
	for _, r := range res.Replacements {
		if err := ts.addReplacement(w, r); err != nil {
			return err
		}
	}
	for _, r := range res.Tokens {
		if err := ts.addRows(w, r); err != nil {
			return err
		}
	}
	report.Applied, report.Names = len(res.Updates), res.Maps
	for _, m := range res.Maps {
		ts.note(m.String())
	}
	report.Skipped = skipped
	for _, u := range w.Unused {
		report.Unused = append(report.Unused, u.Tensor)
	}
	heads, err := ts.missing(w, res.Missing)
	report.Applied += heads
	ts.summary = append(ts.summary, report)
	return err
}

// zero reports whether the delta of a module is zero by its weight or alpha:
// it changes no tensor and unties no head.
func (w *Weighted) zero(m *adapter.Module) bool {
	return w.Weight*m.Scaling() == 0 && m.Magnitude == nil
}

func (ts *targets) addUpdate(w *Weighted, u adapter.Update) {
	if w.zero(u.Module) {
		return
	}
	for _, p := range u.Pieces {
		t := ts.at(p.Tensor)
		t.updates = append(t.updates, weightedPiece{w, u, p})
	}
}

// addRows adds trained rows of an embedding, which replace those of the base.
func (ts *targets) addRows(w *Weighted, r adapter.TokenRows) error {
	if w.Weight != 1 {
		return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("weight %v for an adapter with the trained rows %q", w.Weight, r.Rows.Name),
			Hint: "use weight 1, or leave the embedding out with --skip"}
	}
	t := ts.at(r.Path)
	place := make(map[int]int, len(r.Indices))
	for i, row := range r.Indices {
		place[row] = i
	}
	for _, old := range t.rows {
		for i, row := range old.Indices {
			if j, ok := place[row]; ok && !bytes.Equal(old.Row(i), r.Row(j)) {
				return fmt.Errorf("%s replaces row %d of tensor %q, as another adapter does by other values; leave one out with --skip", w.Source, row, r.Path)
			}
		}
	}
	t.rows = append(t.rows, replacedRows{w, r})
	return nil
}

func (ts *targets) addReplacement(w *Weighted, r adapter.Replacement) error {
	if w.Weight != 1 {
		return &rule.Unsupported{File: w.Source, What: fmt.Sprintf("weight %v for an adapter with the replacement tensor %q", w.Weight, r.Value.Name),
			Hint: "use weight 1, or leave the tensor out with --skip"}
	}
	t := ts.at(r.Name)
	if t.replace != nil && !sameValue(t.replace.Value, r.Value) {
		return fmt.Errorf("%s and %s both replace tensor %q, by different values; leave one out with --skip", t.replace.by.Source, w.Source, r.Name)
	}
	t.replace = &replacement{w, r}
	return nil
}

// skip returns the adapter without the parts that match a pattern of
// Options.Skip, and the names of these.
func (ts *targets) skip(a *adapter.Adapter) (*adapter.Adapter, []string, error) {
	if len(ts.options.Skip) == 0 {
		return a, nil, nil
	}
	var skipped []string
	var failed error
	matches := func(name string) bool {
		for _, pattern := range ts.options.Skip {
			ok, err := path.Match(pattern, name)
			if err != nil {
				failed = fmt.Errorf("pattern %q: %w", pattern, err)
			}
			if ok || pattern == name {
				ts.used[pattern] = true
				skipped = append(skipped, name)
				return true
			}
		}
		return false
	}
	kept := *a
	kept.Modules = slices.DeleteFunc(slices.Clone(a.Modules), func(m *adapter.Module) bool { return matches(m.Name()) })
	kept.Replacements = slices.DeleteFunc(slices.Clone(a.Replacements), func(r adapter.Replacement) bool { return matches(r.Name) })
	kept.Tokens = slices.DeleteFunc(slices.Clone(a.Tokens), func(t adapter.TokenRows) bool { return matches(t.Path) })
	return &kept, skipped, failed
}

// checkSkips refuses patterns that match nothing: the user meant something.
func (ts *targets) checkSkips(adapters []Weighted) error {
	for _, pattern := range ts.options.Skip {
		if ts.used[pattern] {
			continue
		}
		var names []string
		for _, a := range adapters {
			for _, m := range a.Modules {
				names = append(names, m.Name())
			}
			for _, r := range a.Replacements {
				names = append(names, r.Name)
			}
			for _, t := range a.Tokens {
				names = append(names, t.Path)
			}
		}
		return fmt.Errorf("nothing in the adapters matches %q to skip; the nearest names are %s", pattern, strings.Join(text.Nearest(pattern, names, 3), ", "))
	}
	return nil
}

// check refuses combinations that have no defined result.
func (ts *targets) check() error {
	for _, name := range ts.names {
		t := ts.byName[name]
		if t.replace != nil && len(t.updates)+len(t.rows) > 0 { // a bias may be replaced and then added to
			return fmt.Errorf("tensor %q is replaced by %s and also updated", name, t.replace.by.Source)
		}
		if len(t.rows) > 0 && len(t.updates) > 0 {
			return &rule.Unsupported{What: fmt.Sprintf("trained token rows and a low-rank delta on the same tensor %q", name), Hint: "leave one out with --skip"}
		}
		for _, u := range t.updates {
			if u.update.Module.Magnitude == nil {
				continue
			}
			if slices.ContainsFunc(t.updates, func(v weightedPiece) bool { return v.update.Module != u.update.Module && v.meets(u) }) {
				return &rule.Unsupported{File: u.by.Source, What: fmt.Sprintf("DoRA together with another delta on tensor %q", name), Hint: "merge the adapters one after another"}
			}
			if u.by.Weight != 1 {
				return &rule.Unsupported{File: u.by.Source, What: fmt.Sprintf("weight %v for a DoRA adapter", u.by.Weight), Hint: "use weight 1: a magnitude cannot be scaled"}
			}
		}
	}
	return nil
}
