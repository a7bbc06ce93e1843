package model

import (
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
)

// Shell returns a model of the description without values, to count what a
// method trains and how much memory it takes. It cannot be run.
func Shell(d *Desc) (*Model, error) {
	shapes := shapes{}
	for _, s := range d.Tensors() {
		name := s.Name
		if name != HeadName+".weight" {
			name = d.Prefix() + name
		}
		shapes[name] = s.Shape
	}
	return Open(counting{}, d, shapes)
}

// shapes is a checkpoint without bytes.
type shapes map[string][]int

func (s shapes) Tensor(name string) (Stored, bool) {
	shape, ok := s[name]
	return Stored{DType: dtype.F32, Shape: shape}, ok
}

// counting is a backend without memory. It has no operations but those that
// set values, which do nothing.
type counting struct{ backend.Backend }

type counted int

func (c counted) Len() int           { return int(c) }
func (c counted) DType() dtype.DType { return dtype.F32 }

func (counting) Alloc(n int) (backend.Mem, error)                                         { return counted(n), nil }
func (counting) Frozen(dtype.DType, []byte) (backend.Mem, error)                          { return counted(0), nil }
func (counting) Copy(y, x backend.Mat)                                                    {}
func (counting) Write(dst backend.Mat, src []float32)                                     {}
func (counting) Free(backend.Mem)                                                         {}
func (counting) Gemm(a backend.Mat, ta bool, products ...backend.Product)                 {}
func (counting) RowNorms(norm, w, wa, aa, bt backend.Mat, transposed bool, scale float32) {}
func (counting) Err() error                                                               { return nil }
func (counting) Gather(y, table backend.Mat, ids []int32)                                 {}

// Hollow reports whether m is a Shell.
func (m *Model) Hollow() bool {
	_, ok := m.b.(counting)
	return ok
}
