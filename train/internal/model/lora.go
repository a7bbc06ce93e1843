package model

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend"
)

// LoRAOptions say how a low-rank update is made.
type LoRAOptions struct {
	Rank    int
	Alpha   float64
	Scaling float64
	Dropout float32
	DoRA    bool
	// Frozen is the number of rows of A and Bᵀ that follow the trained ones
	// and stay as they are set.
	Frozen int
}

// AddLoRA adds an update of zero to a linear. Values are set with SetFactors.
func (m *Model) AddLoRA(l *Linear, o LoRAOptions) (*LoRA, error) {
	if l.LoRA != nil {
		return nil, fmt.Errorf("module %q has an update already", l.Path)
	}
	u := &LoRA{
		Path: m.Prefix + l.Path, Linear: l, Rank: o.Rank, Alpha: o.Alpha, Scaling: float32(o.Scaling),
		Dropout: o.Dropout, Site: uint32(len(m.loras)),
	}
	rows := o.Rank + o.Frozen
	mats := []struct {
		m          *backend.Mat
		rows, cols int
	}{{&u.A, rows, l.In}, {&u.Bt, rows, l.Out}, {&u.dA, rows, l.In}, {&u.dBt, rows, l.Out}}
	if o.DoRA {
		for _, row := range []*backend.Mat{&u.Magnitude, &u.dMagnitude, &u.norm, &u.ratio} {
			mats = append(mats, struct {
				m          *backend.Mat
				rows, cols int
			}{row, 1, l.Out})
		}
	}
	for _, x := range mats {
		var err error
		if *x.m, err = m.alloc(x.rows, x.cols); err != nil {
			return nil, err
		}
	}
	l.LoRA = u
	m.loras = append(m.loras, u)
	m.params = append(m.params,
		&Param{Name: u.Path + ".lora_A", Value: u.A.Top(o.Rank), Grad: u.dA.Top(o.Rank)},
		&Param{Name: u.Path + ".lora_B", Value: u.Bt.Top(o.Rank), Grad: u.dBt.Top(o.Rank), Up: true})
	if o.DoRA {
		m.params = append(m.params, &Param{Name: u.Path + ".lora_magnitude_vector", Value: u.Magnitude, Grad: u.dMagnitude})
	}
	return u, nil
}

// SetFactors sets A, [r, in], and B, [out, r] row-major, r counting frozen
// rows too.
func (m *Model) SetFactors(u *LoRA, a, b []float32) {
	m.b.Write(u.A, a)
	m.b.Write(u.Bt, transpose(b, u.Bt.Cols, u.Bt.Rows))
}

// Factors returns A and B as SetFactors takes them.
func (m *Model) Factors(u *LoRA) (a, b []float32) {
	a, bt := make([]float32, u.A.Rows*u.A.Cols), make([]float32, u.Bt.Rows*u.Bt.Cols)
	m.b.Read(a, u.A)
	m.b.Read(bt, u.Bt)
	return a, transpose(bt, u.Bt.Rows, u.Bt.Cols)
}

// SetMagnitude sets DoRA's magnitude.
func (m *Model) SetMagnitude(u *LoRA, v []float32) { m.b.Write(u.Magnitude, v) }

// NormMagnitude sets DoRA's magnitude to the norms of the rows of W + s·B·A,
// so that the model is that without it.
func (m *Model) NormMagnitude(u *LoRA) error {
	if err := m.norms(u); err != nil {
		return err
	}
	m.b.Copy(u.Magnitude, u.norm)
	return nil
}

// transpose returns the rows×cols matrix x as cols×rows.
func transpose(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

// prepare computes what DoRA needs of the current factors.
func (m *Model) prepare() error {
	for _, u := range m.loras {
		if u.Magnitude.Empty() {
			continue
		}
		if err := m.norms(u); err != nil {
			return err
		}
		m.b.Divide(u.ratio, u.Magnitude, u.norm)
	}
	return nil
}

// norms computes ‖W+s·B·A‖ row by row.
func (m *Model) norms(u *LoRA) error {
	l := u.Linear
	r := u.A.Rows
	space, err := m.b.Alloc(l.Out*r + r*r)
	if err != nil {
		return err
	}
	defer m.b.Free(space)
	wa := backend.Dense(space, l.Out, r)
	aa := backend.Mat{Mem: space, Off: l.Out * r, Rows: r, Cols: r, Stride: r}
	m.b.Gemm(l.W.Mat, l.Transposed, backend.Product{C: wa, B: u.A, TB: true})
	m.b.Gemm(u.A, false, backend.Product{C: aa, B: u.A, TB: true})
	m.b.RowNorms(u.norm, l.W.Mat, wa, aa, u.Bt, l.Transposed, u.Scaling)
	return nil
}

// AllLinears returns the linears of all blocks in the order of the forward
// pass.
func (m *Model) AllLinears() (list []*Linear) {
	for _, k := range m.blocks {
		list = append(list, k.linears()...)
	}
	return list
}

// Values returns the weight of a linear as [out, in], decoded.
func (m *Model) Values(l *Linear) []float32 {
	values := make([]float32, l.In*l.Out)
	m.b.Read(values, l.W.Mat)
	if l.Transposed {
		return transpose(values, l.In, l.Out)
	}
	return values
}
