package linalg

import (
	"math"
	"unsafe"
)

// chunk is the number of elements summed in the working precision before the
// sums go to float64.
const chunk = 1024

// lanes32 and lanes64 are the numbers of partial sums in a chunk: those of
// one AVX-512 register.
const (
	lanes32 = 16
	lanes64 = 8
)

// Sums say how a merge changed values w by a delta d.
type Sums struct {
	W2      float64 // Σ w²
	D2      float64 // Σ d²
	Dot     float64 // Σ (merged−w)·d
	Changed int     // positions where merged and w differ in their bits
}

func (s *Sums) add(o Sums) {
	s.W2, s.D2, s.Dot, s.Changed = s.W2+o.W2, s.D2+o.D2, s.Dot+o.Dot, s.Changed+o.Changed
}

// Update32 measures how a merge changed w.
//
// The sums are the same bits everywhere. Each chunk of 1024 elements, the
// last one padded with zeros to a multiple of 16, is summed in 16 lanes:
// element i goes to lane i mod 16, by fma(w, w, lane), fma(d, d, lane) and
// fma(merged-w, d, lane) in float32. The lanes are then added in float64,
// l and l+8, l and l+4, l and l+2, l and l+1, and so are the chunks, in
// order. A chunk that does not fit float32 is summed in float64 throughout.
func Update32(w, merged, d []float32) Sums {
	checkLengths(len(w), len(merged), len(d))
	return update(best(), w, merged, d)
}

// Update64 is [Update32] in float64, with 8 lanes.
func Update64(w, merged, d []float64) Sums {
	checkLengths(len(w), len(merged), len(d))
	return update(best(), w, merged, d)
}

// partial is the sums of one chunk by lane; lanes64 of each when T is
// float64.
type partial[T Float] struct {
	w2, dot, d2 [lanes32]T
}

func update[T Float](i isa, w, merged, d []T) (total Sums) {
	for len(w) > 0 {
		n := min(chunk, len(w))
		s := updateChunk(i, w[:n], merged[:n], d[:n])
		if narrow[T]() && !finite(s.W2+s.D2+s.Dot) {
			updateWide(&s, w[:n], merged[:n], d[:n])
		}
		total.add(s)
		w, merged, d = w[n:], merged[n:], d[n:]
	}
	return total
}

func updateChunk[T Float](i isa, w, merged, d []T) (s Sums) {
	lanes := lanes64
	if narrow[T]() {
		lanes = lanes32
	}
	var p partial[T]
	n := len(w) / lanes * lanes
	if n > 0 {
		s.Changed = updateLanes(i, &p, w[:n], merged[:n], d[:n])
	}
	if n < len(w) {
		var tw, tm, td [lanes32]T
		copy(tw[:], w[n:])
		copy(tm[:], merged[n:])
		copy(td[:], d[n:])
		s.Changed += updateLanes(i, &p, tw[:lanes], tm[:lanes], td[:lanes])
	}
	s.W2, s.Dot, s.D2 = tree(p.w2[:lanes]), tree(p.dot[:lanes]), tree(p.d2[:lanes])
	return s
}

// updateLanes adds to p the sums over w, merged and d, whose length is a
// multiple of the number of lanes, and returns how many positions changed.
func updateLanes[T Float](i isa, p *partial[T], w, merged, d []T) (changed int) {
	if narrow[T]() {
		return update32(i, len(w), (*float32)(unsafe.Pointer(&w[0])), (*float32)(unsafe.Pointer(&merged[0])),
			(*float32)(unsafe.Pointer(&d[0])), (*partial[float32])(unsafe.Pointer(p)))
	}
	return update64(i, len(w), (*float64)(unsafe.Pointer(&w[0])), (*float64)(unsafe.Pointer(&merged[0])),
		(*float64)(unsafe.Pointer(&d[0])), (*partial[float64])(unsafe.Pointer(p)))
}

func updateGeneric[T Float](n, lanes int, w, merged, d *T, p *partial[T]) (changed int) {
	ws, ms, ds := unsafe.Slice(w, n), unsafe.Slice(merged, n), unsafe.Slice(d, n)
	for i, x := range ws {
		l := i % lanes
		p.w2[l] = fma(x, x, p.w2[l])
		p.dot[l] = fma(ms[i]-x, ds[i], p.dot[l])
		p.d2[l] = fma(ds[i], ds[i], p.d2[l])
		if different(ms[i], x) {
			changed++
		}
	}
	return changed
}

// updateWide sums a chunk of float32 values in float64, in order.
func updateWide[T Float](s *Sums, w, merged, d []T) {
	s.W2, s.Dot, s.D2 = 0, 0, 0
	for i, x := range w {
		x, m, d := float64(x), float64(merged[i]), float64(d[i])
		s.W2 = math.FMA(x, x, s.W2)
		s.Dot = math.FMA(m-x, d, s.Dot)
		s.D2 = math.FMA(d, d, s.D2)
	}
}

// tree adds lanes, a power of two of them, in float64 by halves.
func tree[T Float](lanes []T) float64 {
	var s [lanes32]float64
	for i, x := range lanes {
		s[i] = float64(x)
	}
	for n := len(lanes) / 2; n > 0; n /= 2 {
		for i := range n {
			s[i] += s[i+n]
		}
	}
	return s[0]
}

func finite(x float64) bool { return x-x == 0 }

// different reports whether x and y differ in their bits.
func different[T Float](x, y T) bool {
	if narrow[T]() {
		return math.Float32bits(float32(x)) != math.Float32bits(float32(y))
	}
	return math.Float64bits(float64(x)) != math.Float64bits(float64(y))
}

// AddLanes adds partial sums of 16 lanes, as [Update32] adds those of a chunk.
func (s *Sums) AddLanes(w2, dot, d2 *[lanes32]float32, changed int) {
	s.add(Sums{W2: tree(w2[:]), Dot: tree(dot[:]), D2: tree(d2[:]), Changed: changed})
}
