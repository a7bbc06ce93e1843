package names

import (
	"slices"
	"strings"
)

// A Parameter is a parameter of the model in memory and where its elements are
// on disk.
type Parameter struct {
	Name     string
	Shape    []int
	Blocks   []Block
	Tensor   string   // the one tensor that it is under another name, else ""
	Families []string // keys of the map that lead there
}

// An entry of the index is one tensor under another name, or one result of a
// group.
type entry struct {
	tensor   string
	families []string
	group    *group
	target   int
}

// A group is the tensors that one conversion makes parameters of.
type group struct {
	by       *transform
	families []string
	first    string     // name of the first result
	sources  [][]string // tensors by source pattern, in natural order
	results  []array    // by target, nil until asked for
	err      error
}

// name is the name of a result of the group.
func (g *group) name(target int) string {
	return strings.Replace(g.first, g.by.to[0], g.by.to[target], 1)
}

// build runs the map over every tensor of the checkpoint, once.
func (m *Map) build() {
	if m.index != nil {
		return
	}
	m.prime()
	all := m.model.Names()
	m.index = make(map[string]entry, len(all))
	groups := map[string]*group{}
	for _, name := range all {
		r := m.rename(name)
		if r.by == nil {
			m.index[r.Name] = entry{tensor: name, families: r.Families}
			continue
		}
		g := groups[r.Name]
		if g == nil {
			g = &group{by: r.by, families: r.Families, first: r.Name, sources: make([][]string, len(r.by.from))}
			groups[r.Name] = g
			m.groups = append(m.groups, g)
			for t := range r.by.to {
				m.index[g.name(t)] = entry{group: g, target: t, families: r.Families}
			}
		}
		g.sources[r.source] = append(g.sources[r.source], name)
	}
	for _, g := range m.groups {
		for _, list := range g.sources {
			slices.SortFunc(list, compareNatural)
		}
	}
}

// convert runs the operations of a group over its tensors.
func (m *Map) convert(g *group) ([]array, error) {
	if g.results != nil || g.err != nil {
		return g.results, g.err
	}
	var in []item
	for i, list := range g.sources {
		x := item{key: g.by.from[i]}
		for _, name := range list {
			shape, _, _ := m.model.Shape(name)
			x.arrays = append(x.arrays, leaf(name, shape))
		}
		if len(list) > 0 {
			in = append(in, x)
		}
	}
	g.results, g.err = (&conversion{g.by, m.model}).run(in)
	return g.results, g.err
}

// Find returns the parameter of a name in memory, with or without the path of
// the model within the model with a head. A family whose operations are not
// known is an error.
func (m *Map) Find(name string) (p Parameter, found bool, err error) {
	m.build()
	candidates := []string{name}
	if m.prefix != "" {
		if short, ok := strings.CutPrefix(name, m.prefix+"."); ok {
			candidates = append(candidates, short)
		} else {
			candidates = append(candidates, m.prefix+"."+name)
		}
	}
	for _, c := range candidates {
		if e, ok := m.index[c]; ok {
			p, err = m.parameter(c, e)
			return p, err == nil, err
		}
	}
	return p, false, nil
}

func (m *Map) parameter(name string, e entry) (Parameter, error) {
	p := Parameter{Name: name, Families: e.families}
	if e.group == nil {
		shape, _, _ := m.model.Shape(e.tensor)
		a := leaf(e.tensor, shape)
		p.Tensor, p.Shape, p.Blocks = e.tensor, a.shape, a.blocks
		return p, nil
	}
	results, err := m.convert(e.group)
	if err != nil {
		return p, err
	}
	p.Shape, p.Blocks = results[e.target].shape, results[e.target].blocks
	if len(e.group.by.ops) == 1 && e.group.by.ops[0].Check && !slices.ContainsFunc(p.Blocks, func(b Block) bool { return b.Transposed }) { // as on disk
		p.Tensor = e.group.sources[0][0]
	}
	return p, nil
}

// Inverse returns the parameter of a name on disk, as an adapter of older
// transformers has it, where the checkpoint was saved with the names of
// memory, or with others that lead there: the elements of the tensor that
// would have that name, wherever they are.
func (m *Map) Inverse(disk string) (p Parameter, found bool, err error) {
	m.build()
	r := m.rename(disk)
	switch {
	case r.by == nil && r.Name == disk:
		return p, false, nil
	case r.by == nil:
		if e, ok := m.index[r.Name]; ok && e.group == nil {
			p, err = m.parameter(disk, e)
			p.Families = union(r.Families, e.families)
			return p, err == nil, err
		}
		if _, _, ok := m.model.Shape(r.Name); ok {
			p, err = m.parameter(disk, entry{tensor: r.Name, families: r.Families})
			return p, err == nil, err
		}
		return p, false, nil
	}
	if e, ok := m.index[r.Name]; ok && e.group != nil && e.group.by == r.by {
		return m.sibling(disk, r, e.group)
	}
	return m.unconvert(disk, r)
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// sibling finds a tensor of a group under another spelling of its name: the
// one that differs least, by its number in the list.
func (m *Map) sibling(disk string, r Renamed, g *group) (p Parameter, found bool, err error) {
	list := g.sources[r.source]
	at := 0
	if len(list) > 1 {
		n, ok := listNumber(disk, g.first)
		if !ok || n >= len(list) {
			return p, false, nil
		}
		at = n
	}
	if len(list) == 0 {
		return p, false, nil
	}
	shape, _, _ := m.model.Shape(list[at])
	a := leaf(list[at], shape)
	return Parameter{disk, a.shape, a.blocks, list[at], union(r.Families, g.families)}, true, nil
}

// listNumber is the number that a name on disk has beyond those of the
// parameter that it becomes a part of: the place in the list.
func listNumber(disk, memory string) (int, bool) {
	rest := numbers(memory)
	for _, n := range numbers(disk) {
		if len(rest) > 0 && rest[0] == n {
			rest = rest[1:]
			continue
		}
		return n, true
	}
	return 0, false
}

func numbers(name string) (out []int) {
	for c := range strings.SplitSeq(name, ".") {
		n, ok := 0, c != "" && len(c) < 9
		for _, d := range c {
			if d < '0' || d > '9' {
				ok = false
				break
			}
			n = n*10 + int(d-'0')
		}
		if ok {
			out = append(out, n)
		}
	}
	return out
}

// unconvert finds a part of parameters that the checkpoint stores as they are
// in memory: it runs the operations over tensors of the shapes that they must
// have had, and reads the blocks the other way round.
func (m *Map) unconvert(disk string, r Renamed) (p Parameter, found bool, err error) {
	t := r.by
	results := make([]string, len(t.to))
	for i := range results {
		name := strings.Replace(r.Name, t.to[0], t.to[i], 1)
		e, ok := m.index[name]
		if !ok || e.group != nil && e.group.by != t {
			return p, false, nil
		}
		if results[i] = e.tensor; e.group != nil {
			return p, false, nil
		}
	}
	list, number := 1, 0
	if slices.ContainsFunc(t.ops, func(op Op) bool { return op.Op == "MergeModulelist" }) {
		shape, _, _ := m.model.Shape(results[0])
		n, ok := listNumber(disk, r.Name)
		if !ok || len(shape) == 0 || n >= shape[0] || shape[0] > MaxExperts {
			return p, false, nil
		}
		list, number = shape[0], n
	}
	shape, ok := m.sourceShape(t, results)
	if !ok {
		return p, false, t.unsupported("the inverse of " + t.ops[0].Op)
	}
	var in []item
	for s, from := range t.from {
		x := item{key: from}
		for i := range list {
			x.arrays = append(x.arrays, leaf(sourceName(s, i), shape))
		}
		in = append(in, x)
	}
	out, err := (&conversion{t, m.model}).run(in)
	if err != nil {
		return p, false, err
	}
	p = Parameter{Name: disk, Shape: shape, Families: r.Families}
	want := sourceName(r.source, number)
	for i, a := range out {
		have, _, _ := m.model.Shape(results[i])
		if !slices.Equal(have, a.shape) {
			return p, false, t.unsupported("the inverse of " + t.ops[0].Op)
		}
		for _, b := range a.blocks {
			if b.Tensor == want {
				p.Blocks = append(p.Blocks, b.inverse(results[i], len(a.shape) == 3))
			}
		}
	}
	return p, len(p.Blocks) > 0, nil
}

func sourceName(pattern, number int) string {
	return string(rune('a'+pattern)) + "." + string(rune(number))
}

// inverse exchanges parameter and tensor.
func (b Block) inverse(tensor string, isStack bool) Block {
	out := Block{Tensor: tensor, Expert: -1, Stack: max(b.Expert, 0), Row: b.DiskRow, Col: b.DiskCol, DiskRow: b.Row, DiskCol: b.Col, Transposed: b.Transposed}
	if isStack {
		out.Expert = b.Stack
	}
	return out
}

// sourceShape is the shape that every tensor of a conversion had on disk, if
// the parts are equal.
func (m *Map) sourceShape(t *transform, results []string) ([]int, bool) {
	shape, _, _ := m.model.Shape(results[0])
	shape = slices.Clone(shape)
	for _, op := range slices.Backward(t.ops) {
		switch {
		case op.Op == "MergeModulelist" && len(shape) > 1:
			shape = shape[1:]
		case op.Op == "Concatenate" && op.Dim < len(shape) && shape[op.Dim]%len(t.from) == 0:
			shape[op.Dim] /= len(t.from)
		case op.Op == "Chunk" && op.Dim < len(shape):
			shape[op.Dim] = 0
			for _, name := range results {
				part, _, _ := m.model.Shape(name)
				if len(part) != len(shape) {
					return nil, false
				}
				shape[op.Dim] += part[op.Dim]
			}
		case op.Op == "Transpose" && len(shape) > 1:
			n := len(shape)
			shape[n-2], shape[n-1] = shape[n-1], shape[n-2]
		case op.Op == "Interleave" || op.Op == "PermuteForRope":
		default:
			return nil, false
		}
	}
	return shape, true
}
