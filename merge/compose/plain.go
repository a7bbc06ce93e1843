package compose

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/mmap"
)

// An Origin says what an adapter's initialisation took out of the base: one of
// the two is set.
type Origin struct {
	// Init is the adapter as it was before training.
	Init *adapter.Adapter
	// Base is the base, for initialisations that are a function of it.
	Base *checkpoint.Checkpoint
	// Names are rules added to the map of the base's names.
	Names adapter.Rules
}

// Plain returns the plain LoRA, for the base as it was, of an adapter whose
// initialisation changed the base (PiSSA, OLoRA, CorDA, LoRA-GA): training
// started from W = W_res + s·B₀·A₀ and ended at W_res + s·B·A, so
//
//	ΔW = s·B·A − s·B₀·A₀,
//
// at the least rank that is exact, or at that of the options. W_res as the
// trainer stored it was rounded to its dtype; that difference is not in any
// adapter.
func Plain(ctx context.Context, a *adapter.Adapter, from Origin, o Options) (*adapter.Adapter, *Report, error) {
	trained, err := withoutInit(a)
	if err != nil {
		return nil, nil, err
	}
	var start *adapter.Adapter
	if from.Init != nil {
		start, err = startOf(trained, from.Init)
	} else {
		start, err = startFrom(ctx, trained, a.Init, from, o)
	}
	if err != nil {
		return nil, nil, err
	}
	if o.DType == 0 {
		o.DType = widest(trained)
	}
	o.Method, o.Dialect, o.AnyBase = Sum, Paper, true
	return Compose(ctx, []Weighted{{trained, 1}, {start, -1}}, o)
}

// withoutInit returns an adapter without the refusal of its initialisation.
func withoutInit(a *adapter.Adapter) (*adapter.Adapter, error) {
	if a.Init == "" {
		if err := a.Mergeable(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s: its initialisation did not change the base; it is a plain LoRA", rule.Printable(a.Source))
	}
	if len(a.Refusals) > 1 {
		for _, r := range a.Refusals {
			if !strings.Contains(r.What, "init_lora_weights") {
				return nil, r
			}
		}
	}
	if strings.EqualFold(a.Init, "loftq") {
		return nil, &rule.Unsupported{File: a.Source, What: "init_lora_weights \"loftq\" (the base was replaced by a quantized one)",
			Hint: "merge it into the quantized base that it was trained on"}
	}
	plain := *a
	plain.Refusals, plain.Init = nil, ""
	return &plain, nil
}

// startOf checks that init is trained as it was before training, and returns
// its factors alone: what else it holds did not change the base.
func startOf(trained, init *adapter.Adapter) (*adapter.Adapter, error) {
	plain := *init
	if init.Init != "" {
		var err error
		if init, err = withoutInit(init); err != nil {
			return nil, err
		}
		plain = *init
	}
	plain.Replacements, plain.Tokens = nil, nil
	byName := map[string]*adapter.Module{}
	for _, m := range plain.Modules {
		byName[m.Name()] = m
	}
	for _, m := range trained.Modules {
		s := byName[m.Name()]
		switch {
		case s == nil:
			return nil, fmt.Errorf("%s has no module %q: it is not %s before training", rule.Printable(init.Source), m.Name(), rule.Printable(trained.Source))
		case s.Scaling() != m.Scaling():
			return nil, fmt.Errorf("module %q has scaling %v in %s and %v in %s, which is not it before training",
				m.Name(), m.Scaling(), rule.Printable(trained.Source), s.Scaling(), rule.Printable(init.Source))
		}
	}
	if len(plain.Modules) != len(trained.Modules) {
		return nil, fmt.Errorf("%s has %d modules, %s has %d: it is not it before training",
			rule.Printable(init.Source), len(plain.Modules), rule.Printable(trained.Source), len(trained.Modules))
	}
	return &plain, nil
}

// widest returns the dtype that holds the factors of all modules.
func widest(a *adapter.Adapter) dtype.DType {
	d := a.Modules[0].A.DType
	for _, m := range a.Modules {
		d = wider(wider(d, m.A.DType), m.B.DType)
	}
	return d
}

// startFrom computes the factors before training from the base.
func startFrom(ctx context.Context, a *adapter.Adapter, init string, from Origin, o Options) (*adapter.Adapter, error) {
	start, ok := starts[strings.ToLower(init)]
	if !ok {
		return nil, &rule.Unsupported{File: a.Source, What: fmt.Sprintf("init_lora_weights %q from the base (it depends on random numbers or data)", init),
			Hint: "give the adapter as it was before training with --init"}
	}
	base := from.Base
	view, err := adapter.NewView(base)
	if err != nil {
		return nil, err
	}
	res, err := a.Resolve(view, from.Names)
	if err != nil {
		return nil, err
	}
	for _, m := range res.Missing {
		if m.What == "module" {
			return nil, &rule.Error{File: a.Source, Rule: "AD028", Err: fmt.Errorf("module %q: the base has no tensor %q", m.Name, m.Tensor)}
		}
	}
	out := &adapter.Adapter{Source: a.Source, Dialect: a.Dialect, Type: a.Type, Base: a.Base, Files: a.Files}
	var done, total int64 // elements of weights
	for _, u := range res.Updates {
		total += weightElements(u.Module)
	}
	for _, u := range res.Updates {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		m, err := startModule(a, u, base, start, o.workers())
		if err != nil {
			return nil, err
		}
		out.Modules = append(out.Modules, m)
		if done += weightElements(u.Module); o.Progress != nil {
			o.Progress(8*done, 8*total)
		}
	}
	return out, nil
}

// weightElements is the size of the weight that a module adapts.
func weightElements(m *adapter.Module) int64 {
	return int64(m.B.Shape[0]) * int64(m.A.Elements()/m.A.Shape[0])
}

// startModule computes B₀ and A₀ of one module.
func startModule(a *adapter.Adapter, u adapter.Update, base *checkpoint.Checkpoint, start startRule, workers int) (*adapter.Module, error) {
	m := *u.Module
	refused := &rule.Unsupported{File: a.Source, Hint: "give the adapter as it was before training with --init",
		What: fmt.Sprintf("initialisation of module %q (%v) from the base", m.Name(), m.Kind)}
	if m.Kind != adapter.Linear || u.Kind != adapter.Linear || u.Experts != 1 || m.Rank > min(m.B.Shape[0], m.A.Shape[1]) {
		return nil, refused
	}
	if start.noTranspose && slices.ContainsFunc(u.Pieces, func(p adapter.Piece) bool { return p.Transposed }) {
		return nil, refused
	}
	var w lowrank.Mat
	var err error
	if fault := mmap.Guard(func() { w, err = weightOf(base, u) }); fault != nil || err != nil {
		return nil, cmp.Or(err, fault)
	}
	b0, a0 := start.factors(w, m.Rank, m.Scaling(), workers)
	m.B = adapter.NewTensor(dtype.F64, []int{w.Rows, m.Rank}, b0)
	m.A = adapter.NewTensor(dtype.F64, []int{m.Rank, w.Cols}, a0)
	m.Bias, m.Magnitude = nil, nil
	return &m, nil
}
