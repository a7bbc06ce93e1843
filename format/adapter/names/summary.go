package names

import (
	"slices"
	"strings"
)

// A Line is one row of the map as it applies to a checkpoint: parameters whose
// names differ by numbers only.
type Line struct {
	Memory     string   `json:"memory"` // with * for a number
	Disk       []string `json:"disk"`
	Parameters int      `json:"parameters"`
	Tensors    int      `json:"tensors"`
	Shape      []int    `json:"shape"` // of the first one, in memory
	Families   []string `json:"maps"`
	Operations []string `json:"operations,omitempty"`
	Problem    string   `json:"problem,omitempty"` // why it cannot be found
}

// Summary lists the parameters whose names or layouts differ from those on
// disk, and counts the others.
func (m *Map) Summary() (lines []Line, same int) {
	at := map[string]int{}
	m.build()
	all := make([]string, 0, len(m.index))
	for name := range m.index {
		all = append(all, name)
	}
	slices.SortFunc(all, compareNatural)
	for _, name := range all {
		e := m.index[name]
		if e.group == nil && e.tensor == name {
			same++
			continue
		}
		p, err := m.parameter(name, e)
		key := numberless(name) + " " + strings.Join(e.disk(), " ")
		i, ok := at[key]
		if !ok {
			i, at[key] = len(lines), len(lines)
			lines = append(lines, Line{Memory: numberless(name), Disk: e.disk(), Shape: p.Shape, Families: e.families, Operations: e.operations()})
		}
		lines[i].Parameters++
		lines[i].Tensors += e.tensors()
		if err != nil {
			lines[i].Problem = err.Error()
		}
	}
	return lines, same
}

// disk lists the tensors of an entry with * for numbers.
func (e entry) disk() (out []string) {
	if e.group == nil {
		return []string{numberless(e.tensor)}
	}
	for _, list := range e.group.sources {
		for _, name := range list {
			if n := numberless(name); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

func (e entry) tensors() int {
	if e.group == nil {
		return 1
	}
	n := 0
	for _, list := range e.group.sources {
		n += len(list)
	}
	return n
}

func (e entry) operations() (out []string) {
	if e.group == nil {
		return nil
	}
	for _, op := range e.group.by.ops {
		out = append(out, op.Op)
	}
	return out
}

// numberless replaces the components that are numbers by *.
func numberless(name string) string {
	components := strings.Split(name, ".")
	for i, c := range components {
		if c != "" && strings.Trim(c, "0123456789") == "" {
			components[i] = "*"
		}
	}
	return strings.Join(components, ".")
}
