package adapter

import (
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/rule"
)

// patches are the parts of replacements that lie in one tensor of the base.
type patches struct {
	tensor string
	list   []patch
}

// A patch is a block of a replacement.
type patch struct {
	Replacement
	block names.Block
	place place
}

// patch notes where the parts of a replacement go.
func (r *resolver) patch(rep Replacement, p place) {
	for _, b := range p.Blocks {
		i := slices.IndexFunc(r.parts, func(x patches) bool { return x.tensor == b.Tensor })
		if i < 0 {
			i, r.parts = len(r.parts), append(r.parts, patches{tensor: b.Tensor})
		}
		r.parts[i].list = append(r.parts[i].list, patch{rep, b, p})
	}
}

// patched makes replacements of tensors of the base from their parts. A tensor
// that is replaced in part only is not handled.
func (r *resolver) patched() error {
	for _, x := range r.parts {
		first := x.list[0]
		shape, _, _ := r.base.Shape(x.tensor)
		covered, d := 0, first.Value.DType
		for _, p := range x.list {
			covered += p.block.Row.Len * p.block.Col.Len
			if p.Value.DType != d {
				return r.inParts(p.Value.Name, p.place)
			}
		}
		if n := elements(shape); covered != n || d.Bits()%8 != 0 {
			return &rule.Unsupported{File: r.a.Source, Hint: "merge it with PEFT",
				What: fmt.Sprintf("tensor %q for %d of %d elements of base tensor %q (%s)", first.Value.Name, covered, n, x.tensor, first.place.how)}
		}
		value := Tensor{Name: first.Value.Name, DType: d, Shape: shape}
		if value.Bytes = first.run(shape); value.Bytes == nil {
			value.Bytes = make([]byte, covered*d.Bits()/8)
			for _, p := range x.list {
				p.copy(value.Bytes, shape)
			}
		}
		r.res.Replacements = append(r.res.Replacements, Replacement{Name: x.tensor, Reason: first.Reason, Value: value})
	}
	return nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// view sees a shape as planes of rows and columns, as blocks do.
func view(shape []int) (rows, cols int) {
	switch len(shape) {
	case 3:
		return shape[1], shape[2]
	case 0, 1:
		return 1, elements(shape)
	}
	return shape[0], columns(shape)
}

// run returns the bytes of a patch that is all of a tensor and lies in its
// replacement as it lies there; nil if it does not.
func (p patch) run(shape []int) []byte {
	b := p.block
	rows, cols := view(shape)
	n, width := elements(shape), p.Value.DType.Bits()/8
	_, from := view(p.place.Shape)
	whole := b.Expert < 0 && !b.Transposed && b.DiskRow == All(rows) && b.DiskCol == All(cols) && rows*cols == n
	if !whole || b.Row.Step != 1 || b.Col != All(from) {
		return nil
	}
	at := p.at(0, 0)
	return p.Value.Bytes[at*width : (at+n)*width]
}

// at is the position of an element of the block in the replacement.
func (p patch) at(i, j int) int {
	b := p.block
	rows, cols := view(p.place.Shape)
	return (b.Stack*rows+b.Row.First+i*b.Row.Step)*cols + b.Col.First + j*b.Col.Step
}

// copy copies the elements of a patch to where they are in a tensor.
func (p patch) copy(tensor []byte, shape []int) {
	b, width := p.block, p.Value.DType.Bits()/8
	rows, cols := view(shape)
	for i := range b.Row.Len {
		for j := range b.Col.Len {
			di, dj := i, j
			if b.Transposed {
				di, dj = j, i
			}
			to := (max(b.Expert, 0)*rows+b.DiskRow.First+di*b.DiskRow.Step)*cols + b.DiskCol.First + dj*b.DiskCol.Step
			copy(tensor[to*width:(to+1)*width], p.Value.Bytes[p.at(i, j)*width:])
		}
	}
}
