package main

import (
	"fmt"
	"io"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
)

// An onBaseReport says where the parts of an adapter are in a base.
type onBaseReport struct {
	Base    string           `json:"base"`
	Modules int              `json:"modules"`
	Found   int              `json:"found"`
	Tensors int              `json:"tensors"` // of the base that they change
	Names   []adapter.MapUse `json:"names,omitempty"`
	Missing []string         `json:"missing,omitempty"`
}

func placeAdapter(a *adapter.Adapter, path string, rules adapter.Rules) (*onBaseReport, error) {
	base, err := checkpoint.Open(path, openOptions())
	if err != nil {
		return nil, err
	}
	defer base.Close()
	view, err := adapter.NewView(base)
	if err != nil {
		return nil, err
	}
	res, err := a.Resolve(view, rules)
	if err != nil {
		return nil, err
	}
	updates, missing, err := res.WithTied(a, view)
	if err != nil {
		return nil, err
	}
	r := &onBaseReport{Base: path, Modules: len(a.Modules), Found: len(updates), Names: res.Maps}
	tensors := map[string]bool{}
	for _, u := range updates {
		for _, p := range u.Pieces {
			tensors[p.Tensor] = true
		}
	}
	r.Tensors = len(tensors)
	for _, m := range missing {
		r.Missing = append(r.Missing, m.Name)
	}
	return r, nil
}

func (r *onBaseReport) print(w io.Writer) {
	fmt.Fprintf(w, "  on %s: %d of %s found, in %s\n", text.Quote(r.Base), r.Found, count(r.Modules, "module"), count(r.Tensors, "tensor"))
	for _, m := range r.Names {
		fmt.Fprintf(w, "    %s\n", m)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(w, "    not found: %s\n", text.Quote(m))
	}
}
