package diff_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/loratool/loratool/diff"
	"github.com/loratool/loratool/format/dtype"
)

// TestCompareBases checks what is found of each kind of change.
func TestCompareBases(t *testing.T) {
	m := newMaker()
	m.small()
	m.add("model.layers.0.k_proj.weight", dtype.F32, 0, 16, 64)
	m.base = append(m.base, encoded("cast.weight", dtype.F32, []int{2, 2}, []float32{1, 2, 3, 4}), encoded("old", dtype.F32, []int{1}, []float32{1}))
	m.tuned = append(m.tuned, encoded("cast.weight", dtype.F16, []int{2, 2}, []float32{1, 2, 3, 4}), encoded("new", dtype.F32, []int{1}, []float32{1}))
	m.base = append(m.base, encoded("lm_head.weight", dtype.F32, []int{4, 2}, make([]float32, 8)))
	m.tuned = append(m.tuned, encoded("lm_head.weight", dtype.F32, []int{5, 2}, make([]float32, 10)))
	base, tuned := m.open(t)
	r, err := diff.CompareBases(context.Background(), base, tuned, diff.CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Added) != 1 || len(r.Removed) != 1 || r.Unchanged != 1 || len(r.Changed) != 8 {
		t.Fatalf("%+v", r)
	}
	for _, c := range r.Changed {
		switch c.Module {
		case "model.layers.0.q_proj":
			if c.Rank != 4 || c.FullRank || c.Elements < 0.9 {
				t.Errorf("%+v", c)
			}
		case "cast":
			if c.NewDType != "F16" || *c.Relative != 0 {
				t.Errorf("%+v", c)
			}
		case "lm_head":
			if len(c.NewShape) != 2 {
				t.Errorf("%+v", c)
			}
		}
	}
	if page := diff.BasesHTML(r); !bytes.Contains(page, []byte("model.layers.1.down_proj.weight")) || !bytes.Contains(page, []byte("<polyline")) {
		t.Error("the page lacks a tensor or the curves")
	}
	shapes, err := diff.CompareBases(context.Background(), base, tuned, diff.CompareOptions{ShapesOnly: true})
	if err != nil || len(shapes.Changed) != 2 {
		t.Errorf("shapes only: %+v, %v", shapes, err)
	}
}
