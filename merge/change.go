package merge

import (
	"fmt"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// A change is all that happens to one tensor between base and output. The
// tensor is seen as planes of [rows, cols]: one plane, or one for each expert.
type change struct {
	out          safetensors.Tensor // as in the output's header
	in           dtype.DType        // dtype of source
	source       []byte             // the base's values, a view of the mapped file
	planes       int
	rows         int
	cols         int
	terms        [][]term // by plane; nil if nothing is added
	dora         *dora    // nil without magnitude
	replaced     []rowReplacement
	replacedRows map[int]bool
	random       *roundingKey // nil: to nearest
	adapted      bool         // false for a mere change of dtype
	recorded     bool         // the marks of its elements are kept for a record
	inverse      *inverse     // not nil: source has merged values, from which the base's are computed
}

// from is the dtype of source, to that of what is computed.
func (c *change) from() dtype.DType {
	if c.inverse != nil {
		return c.out.DType
	}
	return c.in
}

func (c *change) to() dtype.DType {
	if c.inverse != nil {
		return c.in
	}
	return c.out.DType
}

// copies reports whether a plane of a change is copied as it is.
func (c *change) copies(plane int) bool {
	return c.in == c.out.DType && (c.terms == nil || len(c.terms[plane]) == 0)
}

// isReplaced reports whether a row has values that owe nothing to the base.
func (c *change) isReplaced(row int) bool { return c.replacedRows[row] }

// A rowReplacement puts values in the place of one row.
type rowReplacement struct {
	row    int
	values adapter.Tensor // [n, cols]
	from   int            // row of values
}

// newChange makes the change that leaves the values of a tensor as they are.
func newChange(out safetensors.Tensor, in safetensors.Tensor, source []byte) *change {
	c := &change{out: out, in: in.DType, source: source, planes: 1}
	c.rows, c.cols = matrix(in.Shape)
	return c
}

// replace puts values in the place of a row.
func (c *change) replace(r rowReplacement) {
	if c.replacedRows == nil {
		c.replacedRows = map[int]bool{}
	}
	c.replaced, c.replacedRows[r.row] = append(c.replaced, r), true
}

// matrix joins all dimensions after the first.
func matrix(shape []int) (rows, cols int) {
	if len(shape) == 0 {
		return 1, 1
	}
	cols = 1
	for _, d := range shape[1:] {
		cols *= d
	}
	if len(shape) == 1 {
		return 1, shape[0]
	}
	return shape[0], cols
}

// split sees the tensor as one plane for each index of its first dimension.
func (c *change) split(shape []int) {
	c.planes, c.rows, c.cols = shape[0], shape[1], shape[2]
}

func (c *change) add(plane int, t term) {
	if c.terms == nil {
		c.terms = make([][]term, c.planes)
	}
	c.terms[plane] = append(c.terms[plane], t)
	c.adapted = true
}

// single reports whether float32 is the working precision: the output has at
// most 11 significant bits, and every input is exact in float32.
func (c *change) single() bool {
	if c.dora != nil || c.random != nil || c.out.DType.Working() != dtype.F32 || c.in == dtype.F64 {
		return false
	}
	for _, plane := range c.terms {
		for _, t := range plane {
			if t.left.tensor.DType == dtype.F64 || t.right.tensor.DType == dtype.F64 {
				return false
			}
		}
	}
	return true
}

// replaceRows overwrites the rows that are replaced within elements
// [first, last) of the tensor, which dst holds. Values that do not fit into its
// dtype are an error (AD045).
func (c *change) replaceRows(dst []byte, first, last int) error {
	width := c.out.DType.Bits() / 8
	for _, r := range c.replaced {
		from, to := max(first, r.row*c.cols), min(last, (r.row+1)*c.cols)
		if from >= to {
			continue
		}
		v := r.values
		in := v.DType.Bits() / 8
		at := (r.from*c.cols + from - r.row*c.cols) * in
		values := make([]float64, to-from)
		v.DType.Decode64(values, v.Bytes[at:at+len(values)*in])
		out := dst[(from-first)*width : (to-first)*width]
		c.out.DType.Encode64(out, values)
		if c.out.DType.MaxFinite() >= v.DType.MaxFinite() {
			continue
		}
		encoded := make([]float64, len(values))
		c.out.DType.Decode64(encoded, out)
		for j, x := range values {
			if finite(x) && !finite(encoded[j]) {
				return &rule.Error{Tensor: v.Name, Rule: "AD045", Err: fmt.Errorf("%g for row %d of tensor %q does not fit into %v", x, r.row, c.out.Name, c.out.DType),
					Hint: "write a wider dtype with --dtype"}
			}
		}
	}
	return nil
}
