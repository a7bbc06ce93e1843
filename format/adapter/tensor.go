package adapter

import (
	"slices"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/mmap"
)

// A Tensor is a named block of an adapter file. Bytes is a view of the mapped
// file, little-endian, row-major, and must not be written.
type Tensor struct {
	Name  string // as in the file
	DType dtype.DType
	Shape []int
	Bytes []byte
}

// NewTensor rounds values, row-major, once to dt, to nearest even. It panics if
// there are not as many as the shape says.
func NewTensor[T float32 | float64](dt dtype.DType, shape []int, values []T) Tensor {
	t := Tensor{DType: dt, Shape: slices.Clone(shape)}
	if t.Elements() != len(values) {
		panic("adapter: values do not fill the shape")
	}
	t.Bytes = make([]byte, len(values)*dt.Bits()/8)
	switch v := any(values).(type) {
	case []float32:
		dt.Encode32(t.Bytes, v)
	case []float64:
		dt.Encode64(t.Bytes, v)
	}
	return t
}

// Elements returns the product of the shape; 1 for a scalar.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float64s decodes all values, row-major; exactly, for every dtype.
func (t Tensor) Float64s() []float64 {
	values := make([]float64, t.Elements())
	t.DType.Decode64(values, t.Bytes)
	return values
}

// Zero reports whether every value is zero. It fails if the file is cut off.
func (t Tensor) Zero() (zero bool, err error) {
	err = mmap.Guard(func() {
		_, nonZero := t.DType.Inspect(t.Bytes)
		zero = !nonZero
	})
	return zero, err
}
