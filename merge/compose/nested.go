package compose

import (
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// nameParameters names the modules that wrap several parameters of one module,
// which PEFT nests without names, in the order in which models register them:
// the parameters of two adapters are the same by name, not by depth. Where the
// order is not known the modules stay as they are; their ranks and alphas must
// not depend on it then.
func nameParameters(a *adapter.Adapter) (*adapter.Adapter, error) {
	byPath := map[string][]int{} // indices of the unnamed modules
	for i, m := range a.Modules {
		if len(m.Candidates) > 1 {
			byPath[m.Path] = append(byPath[m.Path], i)
		}
	}
	if len(byPath) == 0 {
		return a, nil
	}
	named := *a
	named.Modules = slices.Clone(a.Modules)
	for i, m := range a.Modules {
		at := byPath[m.Path]
		if len(at) == 0 || at[0] != i {
			continue
		}
		slices.SortFunc(at, func(x, y int) int { return a.Modules[y].Depth - a.Modules[x].Depth }) // innermost first
		params := candidates(m)
		if len(params) == len(at) && !slices.ContainsFunc(params, unregistered) {
			adapter.SortRegistered(params)
			for n, i := range at {
				named.Modules[i] = a.Modules[i].As(slices.Index(m.Candidates, params[n].Param))
			}
		} else if m.Scales != nil {
			return nil, &rule.Unsupported{File: a.Source, Hint: "merge it: a base tells which of them is which",
				What: fmt.Sprintf("module %q with parameters of several ranks or alphas, %q, whose order only the base knows", m.Path, m.Candidates)}
		}
	}
	return &named, nil
}

// candidates returns m as each of the parameters that it may be.
func candidates(m *adapter.Module) (list []*adapter.Module) {
	for i := range m.Candidates {
		list = append(list, m.As(i))
	}
	return list
}

func unregistered(m *adapter.Module) bool { return !adapter.Registered(m.Param) }

// nest gives modules that wrap parameters of one module the depths that PEFT
// will look for them at.
func (c *composition) nest(out *adapter.Adapter) error {
	byPath := map[string][]*adapter.Module{}
	for _, m := range out.Modules {
		if m.Param != "" || len(m.Candidates) > 0 {
			byPath[m.Path] = append(byPath[m.Path], m)
		}
	}
	for _, m := range out.Modules {
		list := byPath[m.Path]
		if len(list) == 0 || list[0] != m {
			continue
		}
		if len(m.Candidates) > 1 || len(list) > 1 && slices.ContainsFunc(list, unregistered) {
			if err := c.nestedAsBefore(out, list); err != nil {
				return err
			}
			continue
		}
		adapter.SortRegistered(list)
		for i, m := range list {
			m.Depth = len(list) - 1 - i
		}
	}
	return nil
}

// nestedAsBefore accepts modules whose order is not known if none was added or
// left out, and if nothing in the config depends on the order.
func (c *composition) nestedAsBefore(out *adapter.Adapter, list []*adapter.Module) error {
	first := list[0]
	depths := map[int]bool{}
	for _, m := range list {
		if !slices.Equal(m.Candidates, first.Candidates) || len(list) != c.wrappers(m.Path) || depths[m.Depth] {
			return &rule.Unsupported{File: out.Source, Hint: "compose adapters of the same target_parameters, or merge them",
				What: fmt.Sprintf("parameters of module %q whose order only the base knows", m.Path)}
		}
		depths[m.Depth] = true
		if len(m.Candidates) > 1 && (m.Rank != first.Rank || m.Alpha != first.Alpha) {
			return &rule.Unsupported{File: out.Source, Hint: "give one rank for all with --rank",
				What: fmt.Sprintf("ranks %d and %d for parameters of module %q whose order only the base knows", first.Rank, m.Rank, m.Path)}
		}
	}
	return nil
}

// wrappers is the largest number of modules that an adapter has at a path.
func (c *composition) wrappers(path string) (most int) {
	for _, w := range c.adapters {
		n := 0
		for _, m := range w.Modules {
			if m.Path == path {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
