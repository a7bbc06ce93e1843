package names

// A Span is a run of Len indices that starts at First and goes on by Step.
type Span struct{ First, Step, Len int }

// All is the span of all n indices.
func All(n int) Span { return Span{Step: 1, Len: n} }

// sub is the span of every step-th index of s from the first-th on.
func (s Span) sub(first, step, n int) Span {
	return Span{s.First + first*s.Step, s.Step * step, n}
}

// A Block is a rectangle of a parameter in memory and the rectangle of a
// tensor that holds it: the rows Row and columns Col of the parameter are the
// rows DiskRow and columns DiskCol of the tensor; with Transposed, rows run
// along the tensor's columns.
//
// Parameter and tensor are seen as matrices [rows, columns] or stacks
// [experts, rows, columns]; a vector is one row, and dimensions beyond are
// joined into the columns.
type Block struct {
	Tensor           string
	Expert           int // index into the tensor's first dimension, -1 for a matrix
	Stack            int // index into the parameter's first dimension, 0 for a matrix
	Row, Col         Span
	DiskRow, DiskCol Span
	Transposed       bool
}

// An array is a parameter on its way from disk to memory.
type array struct {
	shape  []int
	blocks []Block
}

// MaxExperts bounds the stacks that are seen as one block for each expert: a
// hundred times what models have.
const MaxExperts = 1 << 16

// leaf is a tensor as it is on disk; a larger stack has no blocks.
func leaf(name string, shape []int) array {
	a := array{shape: shape}
	if len(shape) == 3 {
		if shape[0] > MaxExperts {
			return a
		}
		for e := range shape[0] {
			a.blocks = append(a.blocks, Block{name, e, e, All(shape[1]), All(shape[2]), All(shape[1]), All(shape[2]), false})
		}
		return a
	}
	rows, cols := matrix(shape)
	a.blocks = []Block{{name, -1, 0, All(rows), All(cols), All(rows), All(cols), false}}
	return a
}

func matrix(shape []int) (rows, cols int) {
	switch len(shape) {
	case 0:
		return 1, 1
	case 1:
		return 1, shape[0]
	}
	cols = 1
	for _, d := range shape[1:] {
		cols *= d
	}
	return shape[0], cols
}

type axis uint8

const (
	stackAxis axis = iota
	rowAxis
	colAxis
)

// axis says what dimension dim of the array is in the view as stack or matrix.
func (a array) axis(dim int) (axis, bool) {
	if dim < 0 {
		dim += len(a.shape)
	}
	switch {
	case len(a.shape) == 1 && dim == 0:
		return colAxis, true
	case len(a.shape) == 3 && dim >= 0 && dim < 3:
		return axis(dim), true
	case dim == 0 || dim == 1 && len(a.shape) == 2:
		return rowAxis + axis(dim), true
	}
	return 0, false
}

// A move takes the indices from of an axis to the indices to.
type move struct{ from, to Span }

// moved returns the array with one axis rearranged, n long afterwards; what no
// move takes along is gone. Moves must not overlap.
func (a array) moved(dim, n int, moves []move) (array, bool) {
	x, ok := a.axis(dim)
	if !ok {
		return array{}, false
	}
	out := array{shape: append([]int{}, a.shape...)}
	if dim < 0 {
		dim += len(a.shape)
	}
	out.shape[dim] = n
	for _, b := range a.blocks {
		for _, m := range moves {
			if part, ok := b.moved(x, m); ok {
				out.blocks = append(out.blocks, part)
			}
		}
	}
	return out, true
}

// moved is the part of the block that the move takes along.
func (b Block) moved(x axis, m move) (Block, bool) {
	switch x {
	case stackAxis:
		_, at := intersect(Span{b.Stack, 1, 1}, m.from)
		b.Stack = m.to.First + at.First*m.to.Step
		return b, at.Len > 0
	case rowAxis:
		return b, cut(&b.Row, b.diskOf(x), m)
	default:
		return b, cut(&b.Col, b.diskOf(x), m)
	}
}

// diskOf is the span on disk along which an axis of the parameter runs.
func (b *Block) diskOf(x axis) *Span {
	if (x == rowAxis) != b.Transposed {
		return &b.DiskRow
	}
	return &b.DiskCol
}

// cut leaves of a span of the parameter, and of the disk's beside it, what the
// move takes along.
func cut(parameter, disk *Span, m move) bool {
	have, moved := intersect(*parameter, m.from)
	if have.Len == 0 {
		return false
	}
	*disk = disk.sub(have.First, have.Step, have.Len)
	*parameter = m.to.sub(moved.First, moved.Step, moved.Len)
	return true
}

// intersect returns the positions in a and in b of the indices that both have.
func intersect(a, b Span) (inA, inB Span) {
	g := gcd(a.Step, b.Step)
	strideA, strideB := b.Step/g, a.Step/g
	i := 0
	if a.First < b.First {
		i = (b.First - a.First + a.Step - 1) / a.Step
	}
	for tried := 0; tried < strideA && i < a.Len; tried++ {
		if distance := a.First + i*a.Step - b.First; distance%b.Step == 0 {
			j := distance / b.Step
			if j >= b.Len {
				break
			}
			n := min((a.Len-1-i)/strideA, (b.Len-1-j)/strideB) + 1
			return Span{i, strideA, n}, Span{j, strideB, n}
		}
		i++
	}
	return Span{}, Span{}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// transposed exchanges the last two dimensions.
func (a array) transposed() array {
	out := array{shape: append([]int{}, a.shape...)}
	n := len(a.shape)
	out.shape[n-2], out.shape[n-1] = a.shape[n-1], a.shape[n-2]
	for _, b := range a.blocks {
		b.Row, b.Col, b.Transposed = b.Col, b.Row, !b.Transposed
		out.blocks = append(out.blocks, b)
	}
	return out
}

// Whole is a parameter that is one tensor, under its own name.
func Whole(tensor string, shape []int) Parameter {
	a := leaf(tensor, shape)
	return Parameter{Name: tensor, Shape: a.shape, Blocks: a.blocks, Tensor: tensor}
}
