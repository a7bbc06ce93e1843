package names

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Op is one operation of a conversion, by its class in transformers'
// core_model_loading.py, with the arguments that class has.
type Op struct {
	Op        string   `json:"op"`
	Dim       int      `json:"dim,omitempty"`
	Dim1      int      `json:"dim1,omitempty"`
	Check     bool     `json:"check,omitempty"` // of Transpose: only where the shapes differ
	Inverse   bool     `json:"inverse,omitempty"`
	Config    string   `json:"config,omitempty"` // of PermuteForRope: where num_attention_heads is
	Layers    []string `json:"layers,omitempty"` // of PermuteForRope: what is permuted
	StackDim  int      `json:"stack_dim,omitempty"`
	ConcatDim int      `json:"concat_dim,omitempty"`
	Shards    string   `json:"shards,omitempty"`
}

// An item is what one pattern has collected.
type item struct {
	key    string
	arrays []array
}

// A conversion runs the operations of a transform.
type conversion struct {
	by    *transform
	model Model
}

// operations are the index maps we know. Anything else is unsupported by name.
var operations = map[string]func(c *conversion, op Op, in []item) ([]item, error){
	"MergeModulelist":                    (*conversion).stack,
	"Concatenate":                        (*conversion).concatenate,
	"Chunk":                              (*conversion).chunk,
	"Split":                              (*conversion).split,
	"Transpose":                          (*conversion).transpose,
	"Interleave":                         (*conversion).interleave,
	"PermuteForRope":                     (*conversion).permute,
	"ErnieFuseAndSplitTextVisionExperts": (*conversion).fuseAndSplit,
}

// run returns one array for each target pattern.
func (c *conversion) run(in []item) ([]array, error) {
	if c.by.refused != "" {
		return nil, c.by.unsupported(c.by.refused)
	}
	for _, op := range c.by.ops {
		f := operations[op.Op]
		if f == nil {
			return nil, c.by.unsupported(op.Op)
		}
		var err error
		if in, err = f(c, op, in); err != nil {
			return nil, err
		}
	}
	out := make([]array, len(c.by.to))
	for i, key := range c.by.to {
		at := slices.IndexFunc(in, func(x item) bool { return x.key == key })
		if at < 0 && len(in) == 1 && len(out) == 1 {
			at = 0
		}
		if at < 0 || len(in[at].arrays) != 1 {
			return nil, c.refuse("its result %q is not one parameter", key)
		}
		out[i] = in[at].arrays[0]
	}
	return out, nil
}

// refuse is the error for tensors that the operations do not fit.
func (c *conversion) refuse(format string, args ...any) error {
	ops := make([]string, len(c.by.ops))
	for i, op := range c.by.ops {
		ops[i] = op.Op
	}
	return c.by.unsupported(strings.Join(ops, ", ") + ": " + fmt.Sprintf(format, args...))
}

// stack is MergeModulelist: torch.stack along the first dimension.
func (c *conversion) stack(op Op, in []item) ([]item, error) {
	for i, x := range in {
		a, ok := stacked(x.arrays)
		if !ok || op.Dim != 0 {
			return nil, c.refuse("stacking %d tensors along dimension %d", len(x.arrays), op.Dim)
		}
		in[i].arrays = []array{a}
	}
	if len(in) == 1 && len(c.by.from) == 1 {
		in[0].key = c.by.to[0]
	}
	return in, nil
}

func stacked(list []array) (array, bool) {
	if len(list) == 0 {
		return array{}, false
	}
	out := array{shape: append([]int{len(list)}, list[0].shape...)}
	for i, a := range list {
		if !slices.Equal(a.shape, list[0].shape) || len(a.shape) < 1 || len(a.shape) > 2 {
			return array{}, false
		}
		for _, b := range a.blocks {
			if len(a.shape) == 1 {
				b.Row.First = i
			} else {
				b.Stack = i
			}
			out.blocks = append(out.blocks, b)
		}
	}
	return out, true
}

// concatenate is torch.cat of all tensors, in the order of the patterns.
func (c *conversion) concatenate(op Op, in []item) ([]item, error) {
	var all []array
	for _, x := range in {
		all = append(all, x.arrays...)
	}
	a, ok := joined(all, op.Dim)
	if !ok || len(c.by.to) != 1 {
		return nil, c.refuse("%d tensors of different shapes", len(all))
	}
	return []item{{c.by.to[0], []array{a}}}, nil
}

func joined(all []array, dim int) (array, bool) {
	if len(all) == 0 || dim < 0 || dim >= len(all[0].shape) {
		return array{}, false
	}
	out := array{shape: slices.Clone(all[0].shape)}
	out.shape[dim] = 0
	for _, a := range all {
		if len(a.shape) != len(out.shape) {
			return array{}, false
		}
		n, at := a.shape[dim], out.shape[dim]
		m, ok := a.moved(dim, at+n, []move{{All(n), Span{at, 1, n}}})
		out.shape[dim] += n
		if !ok || !slices.Equal(m.shape, out.shape) {
			return array{}, false
		}
		out.blocks = append(out.blocks, m.blocks...)
	}
	return out, true
}

// one returns the single array of an operation on one tensor.
func (c *conversion) one(op Op, in []item) (array, error) {
	if len(in) != 1 || len(in[0].arrays) != 1 {
		return array{}, c.refuse("%s of several tensors", op.Op)
	}
	return in[0].arrays[0], nil
}

// chunk is torch.chunk into the target patterns.
func (c *conversion) chunk(op Op, in []item) ([]item, error) {
	a, err := c.one(op, in)
	if err != nil || op.Shards != "" || op.Dim < 0 || op.Dim >= len(a.shape) {
		return nil, cmpError(err, c.refuse("chunks of %v along dimension %d", a.shape, op.Dim))
	}
	n := a.shape[op.Dim]
	size := (n + len(c.by.to) - 1) / len(c.by.to)
	sizes := make([]int, len(c.by.to))
	for i := range sizes {
		sizes[i] = min(size, max(n-i*size, 0))
	}
	return c.parts(a, op.Dim, sizes)
}

func cmpError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *conversion) parts(a array, dim int, sizes []int) (out []item, err error) {
	at := 0
	for i, n := range sizes {
		part, ok := a.moved(dim, n, []move{{Span{at, 1, n}, All(n)}})
		if !ok || n == 0 {
			return nil, c.refuse("cutting %v along dimension %d", a.shape, dim)
		}
		out = append(out, item{c.by.to[i], []array{part}})
		at += n
	}
	return out, nil
}

// split is torch.split into the sizes of the model's parameters, which for
// query, key and value follow from the heads in config.json.
func (c *conversion) split(op Op, in []item) ([]item, error) {
	a, err := c.one(op, in)
	if err != nil {
		return nil, err
	}
	sizes, total := make([]int, len(c.by.to)), 0
	for i, to := range c.by.to {
		heads := "num_attention_heads"
		if strings.HasSuffix(to, "k_proj") || strings.HasSuffix(to, "v_proj") {
			heads = "num_key_value_heads"
		} else if !strings.HasSuffix(to, "q_proj") {
			return nil, c.refuse("the size of %q is not known", to)
		}
		n, okHeads := c.number(heads, "text_config")
		d, okDim := c.number("head_dim", "text_config")
		if !okHeads || !okDim {
			return nil, c.refuse("config.json does not say %s and head_dim", heads)
		}
		sizes[i] = n * d
		total += n * d
	}
	if op.Dim != 0 || total != a.shape[0] {
		return nil, c.refuse("%d rows for parts of %v", a.shape[0], sizes)
	}
	return c.parts(a, op.Dim, sizes)
}

// number is a positive number of config.json, in one of its objects or at the
// top.
func (c *conversion) number(name, object string) (int, bool) {
	for _, path := range [][]string{{object, name}, {name}} {
		if path[0] == "" {
			continue
		}
		if text, ok := c.model.Setting(path...); ok {
			n, err := strconv.Atoi(text)
			return n, err == nil && n > 0
		}
	}
	return 0, false
}

// transpose exchanges two dimensions; with Check only where the shapes on disk
// and in memory differ.
func (c *conversion) transpose(op Op, in []item) ([]item, error) {
	a, err := c.one(op, in)
	if err != nil {
		return nil, err
	}
	n := len(a.shape)
	if n != 2 && n != 3 || op.Dim != n-2 || op.Dim1 != n-1 {
		return nil, c.refuse("dimensions %d and %d of %v", op.Dim, op.Dim1, a.shape)
	}
	if !op.Check || c.turned(a.shape) {
		a = a.transposed()
	}
	return []item{{in[0].key, []array{a}}}, nil
}

// turned reports whether a stack of experts on disk is the transpose of the one
// in memory, [experts, out, in]. Without the sizes in config.json it counts as
// it is; the factors of an adapter show it then.
func (c *conversion) turned(shape []int) bool {
	hidden, ok := c.number("hidden_size", "text_config")
	inner, okInner := c.number("moe_intermediate_size", "text_config")
	if !ok || !okInner || len(shape) != 3 {
		return false
	}
	rows, cols := 2*inner, hidden
	if strings.HasSuffix(c.by.to[0], "down_proj") {
		rows, cols = hidden, inner
	}
	return rows != cols && shape[1] == cols && shape[2] == rows
}

// interleave takes the rows of even index first and then those of odd index,
// or with Inverse undoes that.
func (c *conversion) interleave(op Op, in []item) ([]item, error) {
	a, err := c.one(op, in)
	if err != nil {
		return nil, err
	}
	if op.Dim < 0 || op.Dim >= len(a.shape) || a.shape[op.Dim]%2 != 0 {
		return nil, c.refuse("%v along dimension %d", a.shape, op.Dim)
	}
	half := a.shape[op.Dim] / 2
	var moves []move
	for t := range 2 {
		moves = append(moves, halves(0, t, half, op.Inverse))
	}
	m, ok := a.moved(op.Dim, a.shape[op.Dim], moves)
	if !ok {
		return nil, c.refuse("%v along dimension %d", a.shape, op.Dim)
	}
	return []item{{c.by.to[0], []array{m}}}, nil
}

// halves takes every second index, from the t-th of the 2·half indices at
// first on, to the t-th half of them.
func halves(first, t, half int, inverse bool) move {
	m := move{Span{first + t, 2, half}, Span{first + t*half, 1, half}}
	if inverse {
		m.from, m.to = m.to, m.from
	}
	return m
}

// permute changes rotary pairs that lie beside each other into pairs a half
// head apart, head by head.
func (c *conversion) permute(op Op, in []item) ([]item, error) {
	for i, x := range in {
		if len(c.by.from) == 1 && len(c.by.to) == 1 {
			in[i].key = c.by.to[0]
		}
		if op.Layers != nil && !slices.ContainsFunc(op.Layers, func(l string) bool { return strings.Contains(x.key, l) }) {
			continue
		}
		a, err := c.one(op, []item{x})
		if err != nil {
			return nil, err
		}
		heads, ok := c.number("num_attention_heads", op.Config)
		if !ok {
			return nil, c.refuse("config.json does not say num_attention_heads of %s", op.Config)
		}
		n := a.shape[0]
		if n == 0 || n/2%heads != 0 || n%2 != 0 || len(a.shape) > 2 {
			return nil, c.refuse("%v in %d heads", a.shape, heads)
		}
		half := n / heads / 2
		var moves []move
		for h := range heads {
			moves = append(moves, halves(2*half*h, 0, half, op.Inverse), halves(2*half*h, 1, half, op.Inverse))
		}
		if a, ok = a.moved(0, n, moves); !ok {
			return nil, c.refuse("%v in %d heads", a.shape, heads)
		}
		in[i].arrays = []array{a}
	}
	return in, nil
}

// fuseAndSplit shares the experts of every list out to the targets, in equal
// runs, and for each target stacks each list and joins the stacks.
func (c *conversion) fuseAndSplit(op Op, in []item) (out []item, err error) {
	for t, to := range c.by.to {
		var parts []array
		for _, x := range in {
			size := (len(x.arrays) + len(c.by.to) - 1) / len(c.by.to)
			from, until := min(t*size, len(x.arrays)), min((t+1)*size, len(x.arrays))
			a, ok := stacked(x.arrays[from:until])
			if !ok || op.StackDim != 0 {
				return nil, c.refuse("%d experts for %d parts", len(x.arrays), len(c.by.to))
			}
			parts = append(parts, a)
		}
		a, ok := joined(parts, op.ConcatDim)
		if !ok {
			return nil, c.refuse("%d lists of different shapes", len(in))
		}
		out = append(out, item{to, []array{a}})
	}
	return out, nil
}
