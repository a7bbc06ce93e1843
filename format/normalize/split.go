package normalize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
)

// fused are the layers that programs join for speed, with the layers that
// checkpoints store in their place, in the order of their rows.
var fused = map[string][]string{
	"qkv_proj":     {"q_proj", "k_proj", "v_proj"},
	"gate_up_proj": {"gate_proj", "up_proj"},
	"kv_proj":      {"k_proj", "v_proj"},
}

// split returns the modules with those that are fused in the adapter, but not
// in the base, cut into their parts: B by rows, each part with the whole A.
// That changes no delta.
func split(f *adapter.Adapter, base *checkpoint.Checkpoint) (modules []*adapter.Module, cut int, err error) {
	for _, m := range f.Modules {
		before, last, ok := cutLast(m.Path)
		parts := fused[last]
		rows, found := rowsOf(base, before, last, parts)
		if !ok || !found || m.Kind != adapter.Linear || m.Param != "" {
			modules = append(modules, m)
			continue
		}
		total := 0
		for _, n := range rows {
			total += n
		}
		if total != m.B.Shape[0] {
			return nil, 0, &rule.Error{File: f.Source, Tensor: m.B.Name, Rule: "AD027",
				Err: fmt.Errorf("%d rows, but %s of the base have %v", m.B.Shape[0], strings.Join(parts, ", "), rows)}
		}
		if m.Magnitude != nil || m.Bias != nil {
			return nil, 0, &rule.Unsupported{File: f.Source, What: fmt.Sprintf("splitting %q, which has a magnitude or a bias of B", m.Path), Hint: "merge the adapter instead"}
		}
		cut++
		first := 0
		for i, part := range parts {
			modules = append(modules, rowsModule(m, before+"."+part, first, rows[i]))
			first += rows[i]
		}
	}
	return modules, cut, nil
}

// rowsModule is a module of n rows of another.
func rowsModule(m *adapter.Module, path string, first, n int) *adapter.Module {
	c := *m
	c.Path = path
	row := len(m.B.Bytes) / m.B.Shape[0]
	c.B.Shape = append([]int{n}, m.B.Shape[1:]...)
	c.B.Bytes = m.B.Bytes[first*row:][:n*row]
	return &c
}

// rowsOf returns the rows of the layers that stand in the base for a fused one.
func rowsOf(base *checkpoint.Checkpoint, before, last string, parts []string) (rows []int, found bool) {
	if base == nil || len(parts) == 0 {
		return nil, false
	}
	for _, prefix := range []string{before, strings.TrimPrefix(before, "model."), "model." + before} {
		if _, _, whole := base.Lookup(prefix + "." + last + ".weight"); whole {
			return nil, false
		}
		rows = rows[:0]
		for _, p := range parts {
			if _, t, ok := base.Lookup(prefix + "." + p + ".weight"); ok && len(t.Shape) == 2 {
				rows = append(rows, t.Shape[0])
			}
		}
		if len(rows) == len(parts) {
			return slices.Clone(rows), true
		}
	}
	return nil, false
}

func cutLast(path string) (before, last string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}
