package model

import (
	"math"
	"slices"
)

// rotations makes the tables of cosines and sines cover positions below n.
// They are computed as transformers does: frequencies and angles in float32.
func (m *Model) rotations(n int) (err error) {
	if m.Rope == nil || n <= m.cos.Rows {
		return nil
	}
	n = min(max(n, 2*m.cos.Rows), m.Context)
	half := m.HeadDim / 2
	freqs := m.Rope.frequencies(m.HeadDim)
	cos, sin := make([]float32, n*half), make([]float32, n*half)
	for p := range n {
		for j, f := range freqs {
			angle := float64(float32(p) * f)
			cos[p*half+j], sin[p*half+j] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	if m.cos, err = m.alloc(n, half); err != nil {
		return err
	}
	if m.sin, err = m.alloc(n, half); err != nil {
		return err
	}
	m.b.Write(m.cos, cos)
	m.b.Write(m.sin, sin)
	return nil
}

// frequencies returns θ^(−2i/dim), scaled as the config says.
func (r *Rope) frequencies(dim int) []float32 {
	freqs := make([]float32, dim/2)
	for i := range freqs {
		exponent := float64(float32(2*i) / float32(dim))
		f := 1 / float32(math.Pow(r.Theta, exponent))
		if r.Linear > 0 {
			f /= float32(r.Linear)
		}
		if r.Llama3 != nil {
			f = r.Llama3.scale(f)
		}
		freqs[i] = f
	}
	return freqs
}

// scale is the smoothed scaling of Llama 3.1: long waves are divided by the
// factor, short ones kept, those between interpolated.
func (s *Llama3) scale(f float32) float32 {
	wave := 2 * math.Pi / float64(f)
	switch {
	case wave < s.OriginalContext/s.HighFreq:
		return f
	case wave > s.OriginalContext/s.LowFreq:
		return float32(float64(f) / s.Factor)
	}
	smooth := (s.OriginalContext/wave - s.LowFreq) / (s.HighFreq - s.LowFreq)
	return float32(float64((1-smooth)*float64(f)/s.Factor) + float64(smooth*float64(f)))
}

// longest returns the number of positions that a batch needs.
func longest(positions []int32) int {
	if len(positions) == 0 {
		return 0
	}
	return int(slices.Max(positions)) + 1
}
