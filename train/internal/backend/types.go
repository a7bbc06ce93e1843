package backend

import (
	"fmt"

	"github.com/loratool/loratool/format/dtype"
)

// Mem is a block of a device's memory.
type Mem interface {
	Len() int // elements
	DType() dtype.DType
}

// A Mat is a row-major view of a matrix in device memory: element (i, j) is
// Off + i·Stride + j. The zero value is the empty matrix.
type Mat struct {
	Mem                     Mem
	Off, Rows, Cols, Stride int
}

// Dense returns the first rows·cols elements of a block as a matrix.
func Dense(m Mem, rows, cols int) Mat { return Mat{Mem: m, Rows: rows, Cols: cols, Stride: cols} }

// Empty reports whether m has no elements.
func (m Mat) Empty() bool { return m.Rows == 0 || m.Cols == 0 }

// View returns the part of m that starts at (i, j).
func (m Mat) View(i, j, rows, cols int) Mat {
	if i < 0 || j < 0 || rows < 0 || cols < 0 || i > m.Rows-rows || j > m.Cols-cols {
		panic(fmt.Sprintf("backend: view %d×%d at (%d, %d) of a %d×%d matrix", rows, cols, i, j, m.Rows, m.Cols))
	}
	return Mat{m.Mem, m.Off + i*m.Stride + j, rows, cols, m.Stride}
}

// Top returns the first rows of m.
func (m Mat) Top(rows int) Mat { return m.View(0, 0, rows, m.Cols) }

// Columns returns columns j…j+cols-1 of m.
func (m Mat) Columns(j, cols int) Mat { return m.View(0, j, m.Rows, cols) }

// A Norm is a normalisation: RMSNorm, or LayerNorm with Layer.
type Norm struct {
	Gamma, Beta Mat // one row each; frozen or not
	Eps         float32
	Layer       bool
}

// A Segment is one sequence of a batch: Queries rows of Q from row Query on
// attend to Keys rows of K and V from row Key on. The last query stands at
// the last key; in training the two ranges are the same.
type Segment struct{ Query, Queries, Key, Keys int }

// Heads is the shape of an attention: q is [rows, Q·Dim], k and v are
// [rows, KV·Dim], and query head h reads key head h/(Q/KV).
type Heads struct {
	Q, KV, Dim int
	Scale      float32
	Window     int // keys that a query sees, itself among them; 0: all
}

// A Key names a dropout mask.
type Key struct {
	Seed       uint64
	Step, Site uint32 // Step counts micro-batches, Site places in the model
}

// Adam holds the numbers of one AdamW step (Loshchilov and Hutter 2019) as
// torch computes it. For each element, in float32:
//
//	p ← p·(1 − lr·decay);  g ← g·GradScale
//	m ← m + (g−m)·(1−Beta1);  v ← v·Beta2 + (1−Beta2)·g·g
//	p ← p − (LR/C1)·m / (√v/√C2 + Eps),  Ci = 1 − Betaiᵗ
type Adam struct {
	LR, Beta1, Beta2, Eps, Decay float64
	C1, C2                       float64 // bias corrections
	GradScale                    float64
}
